"""Evaluation protocols on top of scorers: figures, intervals, comparison, report."""
