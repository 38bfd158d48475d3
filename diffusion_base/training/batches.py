"""Which samples a step sees: a function of (seed, step), however they are spread over processes and accumulation."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from diffusion_base.errors import UserError


class TrainingDataset(Protocol):
    """What a method's data offers. Whatever is drawn (a flip, a crop, a partner) is drawn from `rng`."""

    def __len__(self) -> int: ...

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]: ...

    def fingerprint(self) -> str:
        """What the data is known by, wherever it lies: a hash of all that items are made of, labels included."""
        ...


class BatchOrder:
    """The micro-batches of one process, each a list of (step, index).

    A step's samples are a stretch of its epoch's permutation, which is a function of (seed, epoch); what doesn't fill
    a step is left out of that epoch. The stretch is cut into accumulation × processes × batch_size.
    """

    def __init__(
        self, num_samples: int, batch_size: int, accumulation: int = 1, processes: int = 1, rank: int = 0, seed: int = 0
    ):
        self.shape = (accumulation, processes, batch_size)
        self.samples_per_step = accumulation * processes * batch_size
        if self.samples_per_step > num_samples:
            raise UserError(
                f"a step takes {self.samples_per_step} samples (--train_batch_size {batch_size} × {processes} processes"
                f" × --gradient_accumulation_steps {accumulation}), but the data has only {num_samples}"
            )
        self.num_samples, self.rank, self.seed = num_samples, rank, seed
        self.steps_per_epoch = num_samples // self.samples_per_step
        self.steps = range(0)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order: np.ndarray = np.empty(0, np.int64)
        order_of = -1
        for step in self.steps:
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != order_of:
                order, order_of = np.random.default_rng([self.seed, epoch]).permutation(self.num_samples), epoch
            samples = order[position * self.samples_per_step :][: self.samples_per_step].reshape(self.shape)
            for micro_batch in samples[:, self.rank]:
                yield [(step, int(index)) for index in micro_batch]

    def __len__(self) -> int:
        return len(self.steps) * self.shape[0]


class _Samples(Dataset):
    """Fetches (step, index) with a generator that is a function of (seed, step, index)."""

    def __init__(self, dataset: TrainingDataset, seed: int):
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int, dict[str, Any] | UserError]:
        step, index = key
        try:
            return step, index, self.dataset.item(index, np.random.default_rng([self.seed, step, index, 1]))
        except UserError as error:  # carried as a value: raised in a worker it would arrive wrapped in a traceback
            return step, index, error


class _Collate:
    def __init__(self, collate: Callable[[list[dict]], dict] | None):
        self.collate = collate or default_collate

    def __call__(self, samples: list[tuple[int, int, Any]]) -> dict[str, Any] | UserError:
        steps, indices, items = zip(*samples, strict=True)
        for item in items:
            if isinstance(item, UserError):
                return item
        return self.collate(list(items)) | {"step": torch.tensor(steps), "index": torch.tensor(indices)}


def load_batches(
    dataset: TrainingDataset,
    order: BatchOrder,
    steps: range,
    *,
    num_workers: int = 0,
    pin_memory: bool = False,
    collate: Callable[[list[dict]], dict] | None = None,
) -> Iterator[dict[str, Any]]:
    """The micro-batches of `steps`, collated, with "step" and "index" (B,) long beside the items' own keys."""
    order.steps = steps
    loader = DataLoader(
        _Samples(dataset, order.seed),
        batch_sampler=order,
        collate_fn=_Collate(collate),
        num_workers=num_workers,
        pin_memory=pin_memory,
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch
