"""The moving average of what is trained, often better than its last state (Polyak & Juditsky 1992)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """The exponential moving average of parameters, one more copy of them.

    Args:
        parameters: by name, float32; they are followed in place.
        decay: weight of the past at a step, once it has grown to that: it is at most t / (9 + t) at step t, and 0 at
            the first, as in diffusers' EMAModel.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float):
        self.parameters = {name: parameter.detach() for name, parameter in parameters.items()}  # the same memory
        self.average = {name: parameter.clone() for name, parameter in self.parameters.items()}
        self.decay = decay

    def update(self, step: int) -> None:
        """Take in the parameters as step `step` (from 1) left them."""
        decay = min(self.decay, step / (9 + step)) if step > 1 else 0.0
        get_ema_multi_avg_fn(decay)(list(self.average.values()), list(self.parameters.values()), None)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the parameters have the average's values; afterwards, bit for bit, their own."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for parameter, average in zip(self.parameters.values(), self.average.values(), strict=True):
            own = parameter.clone()  # one at a time: no third copy of a whole network
            parameter.copy_(average)
            average.copy_(own)
