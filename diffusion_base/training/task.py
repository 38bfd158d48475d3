"""What a method offers the training loop."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

from torch import Tensor, nn


class TrainingTask(nn.Module):
    """What the loop trains: the frozen base (`requires_grad_(False)`) and the trainable part (float32) in one module.

    It is prepared and called as a whole, so that several processes synchronise whatever is trained inside it.
    """

    base_hash: str
    """Identifies the frozen base: a checkpoint of another base is refused."""

    @abstractmethod
    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each sample (B,), and detached figures (B,) to log: the same names for every batch.

        `batch["step"]` and `batch["index"]`, (B,) long on the CPU, are what to derive noise and timesteps from.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what people exchange: safetensors and JSON."""
