"""Files of concept vectors.

A file is safetensors: one tensor a concept, under the concept's name, of the mid block's full shape (C, h, w) or one
number a channel (C,). Its metadata is a JSON object under "concept_vectors": the base's hash (none for weights from
elsewhere), the width of its text conditioning, and facts of the training.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffusion_base.combinations import did_you_mean
from diffusion_base.errors import UserError
from diffusion_base.identity import learned_elsewhere
from diffusion_base.intervention import check_strengths
from diffusion_base.pipeline import Pipeline

FILE = "concept_vectors.safetensors"
METADATA = "concept_vectors"
LEGACY = (".pth", ".pt", ".bin")


@dataclass(frozen=True)
class ConceptVectors:
    """What a file holds.

    Attributes:
        tensors: concept → (C, h, w) or (C,), float32.
        base_hash: of the base they were learned on; None where it is not known.
        cross_attention_dim: width of that base's text conditioning; None where it is not known.
        training: facts of the training, JSON.
        source: where they come from, for errors.
        warning: what descriptions must say of their use on this base; mostly nothing.
    """

    tensors: dict[str, Tensor]
    base_hash: str | None = None
    cross_attention_dim: int | None = None
    training: dict[str, Any] = field(default_factory=dict)
    source: str = "these vectors"
    warning: dict[str, str] = field(default_factory=dict)

    def save(self, file: Path) -> None:
        """Write the file."""
        facts = {
            "base_hash": self.base_hash,
            "cross_attention_dim": self.cross_attention_dim,
            "training": self.training,
        }
        tensors = {name: tensor.detach().cpu().float().contiguous() for name, tensor in self.tensors.items()}
        save_file(tensors, file, metadata={METADATA: json.dumps(facts, sort_keys=True)})

    def combined(self, weights: Mapping[str, float]) -> Tensor:
        """Σ weight · vector, (C, h, w) or (C, 1, 1).

        Raises:
            UserError: a concept that is not there, the nearest name being suggested; a weight beyond ±100.
        """
        check_strengths(**{f"the weight of {name}": weight for name, weight in weights.items()})
        for name in weights:
            if name not in self.tensors:
                raise UserError(f"{self.source} has no concept {name!r}{did_you_mean(name, self.tensors)}")
        parts = [weight * as_map(self.tensors[name]) for name, weight in weights.items()]
        return torch.stack(torch.broadcast_tensors(*parts)).sum(0)


def load_vectors(path: str | Path, pipeline: Pipeline, *, other_base: bool = False) -> ConceptVectors:
    """Open concept vectors for a base.

    Args:
        path: as for `read_vectors`.
        pipeline: the base.
        other_base: take those of another base too, if their shape fits; pictures made with them say so.

    Raises:
        UserError: see `read_vectors`; or vectors of another base or shape.
    """
    vectors = read_vectors(path)
    check_fits(vectors, pipeline)
    return replace(vectors, warning=learned_elsewhere(vectors.base_hash, pipeline, vectors.source, other_base))


def read_vectors(path: str | Path) -> ConceptVectors:
    """Open a file of concept vectors, or the folder of a run or checkpoint that holds one.

    Raises:
        UserError: nothing of the kind there, or a damaged file.
    """
    file = Path(path)
    file = file / FILE if file.is_dir() else file
    if not file.is_file():
        raise UserError(f"{path}: no concept vectors are here; expected a folder with {FILE}, or such a file")
    try:
        with safe_open(file, framework="pt") as content:
            facts = json.loads((content.metadata() or {})[METADATA])
            tensors = {name: content.get_tensor(name).float() for name in content.keys()}  # noqa: SIM118, not a dict
            known = facts["base_hash"], facts["cross_attention_dim"], facts["training"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        hint = "; concept_vectors.import_weights reads the published weights" if file.suffix in LEGACY else ""
        raise UserError(f"{file} is not a file of concept vectors, or a damaged one ({error}){hint}") from None
    if not tensors:
        raise UserError(f"{file} holds no concepts; take the file that a finished training wrote")
    for name, tensor in tensors.items():
        if tensor.ndim not in (1, 3) or not tensor.isfinite().all():
            raise UserError(f"{file}: {name!r} of shape {tuple(tensor.shape)} is no vector of finite numbers")
    return ConceptVectors(tensors, *known, source=str(file))


def check_fits(vectors: ConceptVectors, pipeline: Pipeline) -> None:
    """Refuse vectors of another shape, or of another kind of base.

    Raises:
        UserError
    """
    unet = unet_of(pipeline)
    middle = mid_block_shape(unet)
    for name, tensor in vectors.tensors.items():
        if tuple(tensor.shape) not in (middle, middle[:1]):
            raise UserError(
                f"{vectors.source}: {name!r} has the shape {times(tensor.shape)}, but this base's bottleneck has "
                f"{times(middle)}; learn it on this base, or take the base it was learned on"
            )
    width = unet.config.cross_attention_dim
    if vectors.cross_attention_dim not in (None, width):
        raise UserError(
            f"{vectors.source} belongs to another kind of base, of text conditioning {vectors.cross_attention_dim} "
            f"wide instead of {width}; learn the concepts on this base, or take the other"
        )


def unet_of(pipeline: Pipeline) -> Any:
    """The base's UNet.

    Raises:
        UserError: its denoiser is none.
    """
    if not hasattr(pipeline, "unet"):
        raise UserError(
            "a concept vector is added to a UNet's mid block, and this base's denoiser is a transformer, which has "
            "none: use a Stable Diffusion 1.x, 2.x or XL"
        )
    return pipeline.unet


def mid_block_shape(unet) -> tuple[int, int, int]:
    """(C, h, w) of the mid block's output at the size that the base was trained at.

    Raises:
        UserError: the UNet has no mid block.
    """
    config = unet.config
    if unet.mid_block is None:
        raise UserError("this base's UNet has no mid block, so there is no bottleneck to add a concept vector to")
    size = config.sample_size
    h, w = (size, size) if isinstance(size, int) else size
    for _ in config.down_block_types[1:]:  # a strided convolution between every two blocks
        h, w = -(-h // 2), -(-w // 2)
    return config.block_out_channels[-1], h, w


def as_map(vector: Tensor) -> Tensor:
    """(C, h, w) as it is; (C,) as (C, 1, 1)."""
    return vector if vector.ndim == 3 else vector[:, None, None]


def times(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape))
