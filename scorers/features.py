"""Pictures to features: each decoded once, in workers, put through each extractor once, and never again.

<folder>/<extractor>-<version>/<hash>.safetensors    "features" (k, D); the metadata names the k pictures' contents
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from diffusion_base.data import load_image
from diffusion_base.errors import UserError
from diffusion_base.processes import process_state
from scorers.clip import CLIPScorer, chunks, version_of


class FeatureExtractor(Protocol):
    """A network that turns a picture into numbers.

    Attributes:
        name: what results call it.
        version: changes with the weights and with what is done to a picture before they see it.
        prepare: a picture to a tensor of fixed shape; it runs in worker processes, so it must not hold the network.
    """

    name: str
    version: str
    prepare: Callable[[Image.Image], Tensor]

    def features(self, pixels: Tensor) -> Tensor:
        """(n, D) float32 on the CPU, of n prepared pictures."""
        ...


class CLIPFeatures:
    """CLIP's image tower as a feature extractor: unit vectors."""

    def __init__(self, scorer: CLIPScorer):
        self.scorer, self.name = scorer, scorer.name
        self.prepare: Callable[[Image.Image], Tensor] = scorer.prepare
        self.version = version_of(scorer.model, [scorer.image_processor.to_json_string()])

    def features(self, pixels: Tensor) -> Tensor:
        return self.scorer.features(pixels)


def extract(
    pictures: Mapping[str, Path],
    extractors: Sequence[FeatureExtractor],
    folder: Path,
    *,
    batch_size: int = 64,
    num_workers: int = 2,
    progress: bool = True,
) -> list[dict[str, Tensor]]:
    """The features of every picture by every extractor, from `folder` where it has them.

    Several processes share the work: pictures are cut into batches in a fixed order, and processes take whole batches.
    A batch is kept as soon as it is done, so an interrupted run goes on where it stopped.

    Args:
        pictures: files by the key of their content, from `content_keys`.
        folder: where features are kept; all processes must see the same.
        batch_size: pictures at a time; it moves features by no more than rounding.
        num_workers: processes that decode; 0 decodes in this one.

    Returns:
        For each extractor the features (D,) float32 by key.

    Raises:
        UserError: a picture is missing or broken, or the folder cannot be written.
    """
    state = process_state()
    caches = [FeatureCache(folder / f"{extractor.name}-{extractor.version}") for extractor in extractors]
    known = [cache.read(pictures) for cache in caches]
    lacking = [(key, [key not in rows for rows in known]) for key in pictures]
    lacking = [(key, lacks) for key, lacks in lacking if any(lacks)]
    state.wait_for_everyone()  # all have looked before any writes: the shares don't overlap
    share = list(chunks(lacking, batch_size))[state.process_index :: state.num_processes]
    own = [item for batch in share for item in batch]
    loader = DataLoader(
        PreparedPictures([(pictures[key], lacks) for key, lacks in own], [e.prepare for e in extractors]),
        batch_sampler=list(chunks(range(len(own)), batch_size)),
        collate_fn=stack,
        num_workers=min(num_workers, len(share)),
    )
    hidden = not (progress and own and state.is_main_process)
    with tqdm(total=len(own), desc="features", unit="picture", disable=hidden) as bar:
        for batch, prepared in zip(share, loader, strict=True):
            if isinstance(prepared, UserError):
                raise prepared
            for e, pixels in enumerate(prepared):
                if pixels is not None:
                    keys = [key for key, lacks in batch if lacks[e]]
                    known[e] |= caches[e].write(keys, extractors[e].features(pixels))
            bar.update(len(batch))
    state.wait_for_everyone()
    for cache, rows in zip(caches, known, strict=True):
        rows |= cache.read([key for key in pictures if key not in rows])  # the other processes' shares
        if not rows.keys() >= pictures.keys():
            raise UserError(f"{cache.folder}: not all features are there; all processes must share this folder")
    return known


def content_keys(paths: Sequence[Path]) -> list[str]:
    """The sha256 of each file: what a picture is known by, wherever it lies.

    Raises:
        UserError: a file is missing or cannot be read.
    """

    def key(path: Path) -> str:
        try:
            return digest(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"{path}: there is no such picture") from None
        except OSError as error:
            raise UserError(f"{path}: the picture can't be read ({error.strerror})") from None

    with ThreadPoolExecutor() as pool:  # hashlib works outside the interpreter lock
        return list(pool.map(key, paths))


class FeatureCache:
    """One extractor's features on disk, a file a batch; files are written whole, damaged ones count as not there."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, keys: Iterable[str]) -> dict[str, Tensor]:
        """The features (D,) that are there, by key."""
        wanted = set(keys)
        rows: dict[str, Tensor] = {}
        for file in sorted(self.folder.glob("*.safetensors")) if wanted else ():
            try:
                with safe_open(file, framework="pt") as shard:
                    about, features = shard.metadata() or {}, shard.get_tensor("features")
            except (OSError, SafetensorError):
                continue
            if about.get("digest") == shard_digest(about.get("keys", ""), features):
                named = zip(json.loads(about["keys"]), features, strict=True)
                rows |= {key: row.clone() for key, row in named if key in wanted}
        return rows

    def write(self, keys: Sequence[str], features: Tensor) -> dict[str, Tensor]:
        """Keep the features (k, D) of k pictures, and return them by key."""
        about = {"keys": json.dumps(keys)}
        about["digest"] = shard_digest(about["keys"], features)
        file = self.folder / f"{about['digest'][:32]}.safetensors"
        partial = file.with_suffix(f".{os.getpid()}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({"features": features.contiguous()}, partial, metadata=about)
            partial.replace(file)
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                partial.unlink()
            raise UserError(f"{file}: the features can't be kept ({error}); make room and start again") from None
        return dict(zip(keys, features, strict=True))


class PreparedPictures(Dataset):
    """What the workers do: decode a picture once and prepare it for each extractor that lacks it."""

    def __init__(
        self, items: Sequence[tuple[Path, Sequence[bool]]], prepares: Sequence[Callable[[Image.Image], Tensor]]
    ):
        self.items, self.prepares = items, prepares

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> list[Tensor | None] | UserError:
        path, lacks = self.items[index]
        try:
            image = load_image(path)
        except UserError as error:
            return error  # raised in a worker, it would arrive with the worker's traceback as its text
        return [prepare(image) if lacking else None for prepare, lacking in zip(self.prepares, lacks, strict=True)]


def stack(batch: Sequence[list[Tensor | None] | UserError]) -> list[Tensor | None] | UserError:
    """One tensor an extractor, of the pictures that lack it; None where none does. Or the first fault."""
    rows = []
    for item in batch:
        if isinstance(item, UserError):
            return item
        rows.append(item)
    columns = [[pixels for pixels in column if pixels is not None] for column in zip(*rows, strict=True)]
    return [torch.stack(column) if column else None for column in columns]


def shard_digest(keys: str, features: Tensor) -> str:
    return digest(keys.encode(), features.contiguous().numpy().tobytes())


def digest(*parts: bytes) -> str:
    """The sha256 of the parts, one after the other."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()
