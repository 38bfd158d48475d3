"""The bottleneck door: something is added to the output of the UNet's mid block (h-space)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from concept_vectors.vectors import times
from diffusion_base.errors import UserError
from diffusion_base.intervention import Context

SHAPES = ("constant", "rising", "falling")


@dataclass(frozen=True)
class Schedule:
    """How strong a vector is in the course of sampling, whose progress runs from 0 (pure noise) to 1 (the picture).

    Attributes:
        shape: "constant"; "rising" from 0 to 1 over all of the sampling; or "falling" from 1 to 0.
        start, end: the vector acts at start ≤ progress < end.

    Raises:
        UserError: no such shape, or an empty stretch.
    """

    shape: str = "constant"
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise UserError(f"schedule {self.shape!r}: there is no such schedule; there are {', '.join(SHAPES)}")
        if not 0 <= self.start < self.end <= 1:
            raise UserError(f"start {self.start:g} and end {self.end:g} must keep to 0 ≤ start < end ≤ 1")

    def __call__(self, progress: Tensor) -> Tensor:
        """The factor at some progress, of the same shape."""
        factor = {"constant": torch.ones_like(progress), "rising": progress, "falling": 1 - progress}[self.shape]
        return factor * ((progress >= self.start) & (progress < self.end))


def progress(context: Context) -> Tensor:
    """How far sampling is, from 0 at pure noise to just below 1 at the picture, whatever the number of steps."""
    length = context.pipeline.scheduler.config.num_train_timesteps
    timestep = torch.as_tensor(context.timestep, device=context.pipeline.device)
    return (length - 1 - timestep) / length


@contextmanager
def added_to_mid_block(unet: Any, addition: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While this lasts, the mid block's output h (B, C, h, w) becomes h + addition(h)."""
    handle = unet.mid_block.register_forward_hook(lambda _module, _inputs, output: output + addition(output))
    try:
        yield
    finally:
        handle.remove()


def on_conditional_rows(context: Context, vectors: Tensor, hidden: Tensor) -> Tensor:
    """The vector of each picture, on the rows of a UNet's batch that are conditional; zeros on the others.

    Args:
        vectors: (B, C, h, w), one a picture, or (B, C, 1, 1) for all places alike.
        hidden: the mid block's output: (2B, C, h, w) with guidance, else (B, C, h, w).

    Raises:
        UserError: pictures of a size whose bottleneck the vectors don't fit.
    """
    if vectors.shape[2:] not in ((1, 1), hidden.shape[2:]):
        raise UserError(
            f"the vector is made for a bottleneck of {times(vectors.shape[2:])} places, and these pictures have "
            f"{times(hidden.shape[2:])}: take the base's own picture size, or a per-channel vector"
        )
    rows = context.conditional_rows
    return vectors.to(hidden.dtype).repeat(len(rows) // len(vectors), 1, 1, 1) * rows[:, None, None, None]
