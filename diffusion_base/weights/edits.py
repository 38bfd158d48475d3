"""What published weights do to one parameter."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Edit(Protocol):
    """A parameter's change, of some strength."""

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether it can be made to a parameter of this shape."""

    def spoken_shape(self) -> str:
        """Of what it is made for, in a sentence."""

    def made(self, own: Tensor, strength: float) -> Tensor:
        """The parameter with the change, a new tensor like the base's own; computed in float32."""


@dataclass(frozen=True)
class Whole:
    """Another value of the whole parameter."""

    value: Tensor

    def fits(self, shape: tuple[int, ...]) -> bool:
        return _without_kernel(tuple(self.value.shape)) == _without_kernel(shape)

    def spoken_shape(self) -> str:
        return spoken(tuple(self.value.shape))

    def made(self, own: Tensor, strength: float) -> Tensor:
        value = self.value.to(own.device).view_as(own)
        if strength == 1:  # to the bit
            return value.to(own.dtype, copy=True)
        return torch.lerp(own.float(), value.float(), strength).to(own.dtype)


@dataclass(frozen=True)
class LowRank:
    """W + strength · scale · up · down, of a linear layer or a convolution: `down` is (r, in, …), `up` (out, r, …)."""

    down: Tensor
    up: Tensor
    scale: float

    def fits(self, shape: tuple[int, ...]) -> bool:
        if min(self.up.ndim, self.down.ndim) < 2 or self.up[0].numel() != self.down.shape[0]:  # the rank
            return False
        return _without_kernel((self.up.shape[0], *self.down.shape[1:])) == _without_kernel(shape)

    def spoken_shape(self) -> str:
        return spoken((self.up.shape[0], *self.down.shape[1:]))

    def made(self, own: Tensor, strength: float) -> Tensor:
        up, down = (part.to(own.device, torch.float32).flatten(1) for part in (self.up, self.down))
        return torch.add(own.float(), (up @ down).view_as(own), alpha=strength * self.scale).to(own.dtype)


def spoken(shape: tuple[int, ...]) -> str:
    """A shape for a sentence."""
    return f"({', '.join(map(str, shape))})"


def _without_kernel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(out, in) of a 1×1 convolution, which was a linear layer in some versions; other shapes as they are."""
    return shape[:2] if all(size == 1 for size in shape[2:]) else shape
