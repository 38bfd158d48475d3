"""Weights as people publish them: found, read, matched name by name, put into a base and taken out without a trace."""

from typing import TYPE_CHECKING

from diffusion_base.lazy import lazy

if TYPE_CHECKING:
    from diffusion_base.weights.intervention import PublishedWeights

__getattr__, __dir__ = lazy(__name__, {"diffusion_base.weights.intervention": ("PublishedWeights",)})
