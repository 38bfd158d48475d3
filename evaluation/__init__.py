"""Evaluation protocols on top of scorers: figures, intervals, comparison, report.

`compare` is the module of the command, which can be called as the function in it.
"""

from typing import TYPE_CHECKING

from diffusion_base.lazy import lazy

if TYPE_CHECKING:
    from evaluation.compare import compare
    from evaluation.protocols.measuring import evaluate

__getattr__, __dir__ = lazy(
    __name__, {"evaluation.compare": ("compare",), "evaluation.protocols.measuring": ("evaluate",)}
)
