"""Evaluation protocols on top of scorers: figures, intervals, comparison, report.

`from evaluation import evaluate, compare`: the second is the module of the command, which can be called.
"""

from typing import TYPE_CHECKING

from diffusion_base.lazy import lazy

if TYPE_CHECKING:
    from evaluation.protocols.measuring import evaluate

__getattr__, __dir__ = lazy(__name__, {"evaluation.protocols.measuring": ("evaluate",)})
