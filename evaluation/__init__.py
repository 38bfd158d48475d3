"""Evaluation protocols on top of scorers: figures, intervals, comparison, report."""

from typing import Any


def __getattr__(name: str) -> Any:
    """`evaluate` and `compare`, which load torch, once they are asked for."""
    if name == "evaluate":
        from evaluation.protocols.measuring import evaluate

        return evaluate
    if name == "compare":
        from evaluation.compare import compare

        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
