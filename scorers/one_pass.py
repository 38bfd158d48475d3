"""One pass over pictures: each decoded once, in workers, and shown to everyone who lacks it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from diffusion_base.data import load_image
from diffusion_base.errors import UserError
from diffusion_base.processes import process_state, usable_cores
from scorers.clip import chunks


class Viewer(Protocol):
    """Someone who is shown pictures: a feature extractor with its cache, a judge with its log.

    Attributes:
        prepare: what a picture becomes before it is shown; it runs in worker processes, so it must hold no network.
    """

    prepare: Callable[[Image.Image], Any]

    def lacks(self, key: str) -> bool:
        """Whether the picture of this key must be shown."""
        ...

    def view(self, keys: Sequence[str], prepared: Any) -> None:
        """Be shown k pictures: (k, …) where they are prepared as tensors of one shape, else a list.

        What comes of it is to be on disk on return, so that an interrupted pass goes on where it stopped.
        """
        ...


def show(
    pictures: Mapping[str, Path],
    viewers: Sequence[Viewer],
    *,
    batch_size: int = 64,
    num_workers: int = 2,
    name: str = "pictures",
    progress: bool = True,
) -> None:
    """Show every picture to the viewers that lack it.

    Several processes share the work: pictures are cut into batches in a fixed order, and processes take whole batches.
    All are done when this returns.

    Args:
        pictures: files by the key of their content.
        batch_size: pictures at a time.
        num_workers: processes that decode; 0 decodes in this one.
        name: of the progress bar.

    Raises:
        UserError: a picture is missing or broken.
    """
    state = process_state()
    lacking = [(key, [viewer.lacks(key) for viewer in viewers]) for key in pictures]
    lacking = [(key, lacks) for key, lacks in lacking if any(lacks)]
    state.wait_for_everyone()  # all have looked before any writes: the shares don't overlap
    share = list(chunks(lacking, batch_size))[state.process_index :: state.num_processes]
    own = [item for batch in share for item in batch]
    loader = DataLoader(
        PreparedPictures([(pictures[key], lacks) for key, lacks in own], [viewer.prepare for viewer in viewers]),
        batch_sampler=list(chunks(range(len(own)), batch_size)),
        collate_fn=stack,
        num_workers=min(num_workers, len(share), usable_cores()),
    )
    hidden = not (progress and own and state.is_main_process)
    with tqdm(total=len(own), desc=name, unit="picture", disable=hidden) as bar:
        for batch, columns in zip(share, loader, strict=True):
            if isinstance(columns, UserError):
                raise columns
            for v, prepared in enumerate(columns):
                if prepared is not None:
                    viewers[v].view([key for key, lacks in batch if lacks[v]], prepared)
            bar.update(len(batch))
    state.wait_for_everyone()


class PreparedPictures(Dataset):
    """What the workers do: decode a picture once and prepare it for each viewer that lacks it."""

    def __init__(self, items: Sequence[tuple[Path, Sequence[bool]]], prepares: Sequence[Callable[[Image.Image], Any]]):
        self.items, self.prepares = items, prepares

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> list | UserError:
        path, lacks = self.items[index]
        try:
            image = load_image(path)
        except UserError as error:
            return error  # raised in a worker, it would arrive with the worker's traceback as its text
        return [prepare(image) if lacking else None for prepare, lacking in zip(self.prepares, lacks, strict=True)]


def stack(batch: Sequence[list | UserError]) -> list | UserError:
    """A column a viewer, of the pictures that it lacks; None where it lacks none. Or the first fault."""
    rows = []
    for item in batch:
        if isinstance(item, UserError):
            return item
        rows.append(item)
    columns = [[prepared for prepared in column if prepared is not None] for column in zip(*rows, strict=True)]
    return [torch.stack(column) if column and isinstance(column[0], Tensor) else column or None for column in columns]
