"""What a method offers the training loop."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class TrainingTask(nn.Module, ABC):
    """What the loop trains: the frozen base (`requires_grad_(False)`) and the trainable part in one module.

    It is prepared and called as a whole, so that several processes synchronise whatever is trained inside it. What is
    trained is kept in float32 (the loop casts it), whatever the precision of the computation.
    """

    base_hash: str
    """Identifies the frozen base: a checkpoint of another base is refused."""
    uses_step_means: bool = False
    """Whether the loss calls `mean_over_step`."""

    @abstractmethod
    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each sample (B,), and detached figures (B,) to log: the same names for every batch.

        Where a figure is NaN it is not of that sample, and its mean is over the others. Figures of pictures, of which
        a sample may have several, are of any number, the same for every batch.

        `batch["step"]` and `batch["index"]`, (B,) long on the CPU, are what to derive noise and timesteps from.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what people exchange: safetensors and JSON."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All that is trained, in groups as torch's optimizers take them: {"params": [...]} each.

        A group's own "lr" or "weight_decay" counts there instead of the arguments'.
        """
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    def after_step(self, step: int) -> None:
        """Called, without gradients, once `step` optimizer steps are done: for whatever follows what is trained."""

    def read(self, step: int, means: dict[str, float]) -> dict[str, float]:
        """What to log of the figures' means since the last entry: for what follows from them, and to warn.

        All processes call it with the same means.
        """
        return means

    def state(self) -> dict[str, Tensor]:
        """What must be continued beside the trained parameters, e.g. a running mean; saved with each checkpoint."""
        return {}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `state` gave: the same names and shapes."""

    def mean_over_step(self, values: Tensor) -> Tensor:
        """The mean of per-sample values (B, …) over the samples of all processes, shape (…), in float32.

        Gradients flow through it to every process's samples, so two processes do what one does with the doubled
        batch. It is one meeting of all processes: several values cost less stacked, (B, K). Gradient accumulation cuts
        a step into batches that don't know of each other: then it is the mean over one batch of each process, another
        and noisier statistic, and a run must be continued with the accumulation it began with.

        Raises:
            RuntimeError: the class doesn't say `uses_step_means = True`, by which the loop knows of it.
        """
        if not self.uses_step_means:
            raise RuntimeError(f"{type(self).__name__} takes a mean over the step: it must say uses_step_means = True")
        mean = values.float().mean(0)
        if not dist.is_initialized():
            return mean
        return _SumOverProcesses.apply(mean) / dist.get_world_size()


class _SumOverProcesses(torch.autograd.Function):
    """All processes get the sum; each one's share of it gets the gradients of all. (torch.distributed.nn, which has
    this, is deprecated.)"""

    @staticmethod
    def forward(ctx, share: Tensor) -> Tensor:
        total = share.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _SumOverProcesses.apply(gradient)
