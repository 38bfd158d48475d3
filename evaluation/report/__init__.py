"""Runs side by side: compared, in tables, and as a page."""
