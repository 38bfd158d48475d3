"""Figures: what they are, the table of metrics, how they are computed, their intervals."""
