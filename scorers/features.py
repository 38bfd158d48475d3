"""Pictures to features: each put through each extractor once, and never again.

<folder>/<extractor>-<version>/<hash>.safetensors    "features" (k, D); the metadata names the k pictures' contents
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffusion_base.errors import UserError
from diffusion_base.files import disk_errors, replacing
from diffusion_base.identity import digest, model_version
from scorers.clip import CLIPScorer
from scorers.one_pass import show


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
        self.version = model_version(scorer.model, [scorer.image_processor.to_json_string()])

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

    Several processes share the work, and a batch is kept as soon as it is done: see `show`.

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
    viewers = [FeatureViewer(extractor, folder, pictures) for extractor in extractors]
    show(pictures, viewers, batch_size=batch_size, num_workers=num_workers, name="features", progress=progress)
    return [viewer.all_rows() for viewer in viewers]


class FeatureViewer:
    """A feature extractor as a `Viewer`: it lacks the pictures whose features are not kept in the folder."""

    def __init__(self, extractor: FeatureExtractor, folder: Path, keys: Iterable[str]):
        self.extractor, self.wanted, self.prepare = extractor, set(keys), extractor.prepare
        self.cache = FeatureCache(folder / f"{extractor.name}-{extractor.version}")
        self.rows = self.cache.read(self.wanted)

    def lacks(self, key: str) -> bool:
        return key in self.wanted and key not in self.rows

    def view(self, keys: Sequence[str], prepared: Tensor) -> None:
        self.rows |= self.cache.write(keys, self.extractor.features(prepared))

    def all_rows(self) -> dict[str, Tensor]:
        """The features (D,) of all pictures by key, those that other processes computed too."""
        self.rows |= self.cache.read(self.wanted - self.rows.keys())
        if not self.rows.keys() >= self.wanted:
            raise UserError(f"{self.cache.folder}: not all features are there; all processes must share this folder")
        return self.rows


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
        with disk_errors(file, "make room, or name another folder for the features"), replacing(file) as partial:
            save_file({"features": features.contiguous()}, partial, metadata=about)
        return dict(zip(keys, features, strict=True))


def shard_digest(keys: str, features: Tensor) -> str:
    return digest(keys.encode(), features.contiguous().numpy().tobytes())
