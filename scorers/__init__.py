"""Judges: images in, a row an image out. Used by the evaluation and by methods that must look at what they made."""
