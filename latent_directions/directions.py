"""Files of latent directions, our own and the authors'.

A file is safetensors: one tensor (C, h, w) of length 1 a fit, class and step, under "svm/female/10". Its metadata is a
JSON object under "latent_directions": the base's hash, the number of sampling steps, and the table of fits. The first
implementation's files are `{class}_{index}.npy` of shape (1, C, h, w), the index counting the kept steps.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffusion_base.combinations import did_you_mean
from diffusion_base.errors import UserError
from diffusion_base.families import family_of
from diffusion_base.files import disk_errors, replacing
from diffusion_base.identity import learned_elsewhere
from diffusion_base.pipeline import Pipeline

FILE = "directions.safetensors"
METADATA = "latent_directions"
NPY = re.compile(r"(?P<name>.+)_(?P<index>\d+)")
PUBLISHED_FIT = "svm"
ADVISED = 0.2  # of the sampling: the authors advise step 10 of 50


@dataclass(frozen=True)
class Directions:
    """What a file holds.

    Attributes:
        tensors: (fit, class, step) → (C, h, w), float32, of length 1 where we made it.
        base_hash: of the base whose latents they were fitted on; None where it is not known.
        num_inference_steps: of the sampling that made those; None where it is not known, as in the authors' files,
            whose steps are indices.
        facts: JSON: the table of fits, and of what data.
        source: where they come from, for errors.
        warning: what descriptions must say of their use on this base; mostly nothing.
    """

    tensors: dict[tuple[str, str, int], Tensor]
    base_hash: str | None = None
    num_inference_steps: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    source: str = "these directions"
    warning: dict[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        return list(dict.fromkeys(name for _, name, _ in self.tensors))

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, h, w)"""
        return tuple(next(iter(self.tensors.values())).shape)

    def find(self, name: str, fit: str, step: int | None) -> Tensor:
        """The direction of a class, (C, h, w).

        Args:
            step: that its latents are of, of the authors' files the index; None is the one nearest to a fifth of the
                sampling, as the authors advise: index 2.

        Raises:
            UserError: no such class, fit or step.
        """
        if name not in self.classes:
            raise UserError(f"{self.source} has no direction {name!r}{did_you_mean(name, self.classes)}")
        steps = {of: tensor for (by, other, of), tensor in self.tensors.items() if (by, other) == (fit, name)}
        if not steps:
            known = ", ".join(dict.fromkeys(by for by, other, _ in self.tensors if other == name))
            raise UserError(f"{self.source} has no fit {fit!r} of {name}; there are {known}")
        if step is None:
            advised = 2 if self.num_inference_steps is None else ADVISED * self.num_inference_steps
            step = min(steps, key=lambda of: (abs(of - advised), of))
        if step not in steps:
            raise UserError(
                f"{self.source} has no direction of {name} at step {step}; there are {', '.join(map(str, steps))}"
            )
        return steps[step]

    def combined(self, weights: Mapping[str, float], fit: str, step: int | None) -> Tensor:
        """Σ weight · direction, (C, h, w); see `find`."""
        return torch.stack([weight * self.find(name, fit, step) for name, weight in weights.items()]).sum(0)

    def joined(self, other: "Directions") -> "Directions":
        """The directions of two files.

        Raises:
            UserError: a class that both have, another shape, or another number of sampling steps.
        """
        both = f"{self.source} and {other.source}"
        if twice := next((name for name in self.classes if name in other.classes), None):
            raise UserError(f"{both} have both a direction {twice!r}; take one of them")
        if self.shape != other.shape:
            raise UserError(f"{both} hold directions of two shapes, {times(self.shape)} and {times(other.shape)}")
        if self.num_inference_steps != other.num_inference_steps:
            raise UserError(
                f"{both} are of samplings of {self.num_inference_steps} and {other.num_inference_steps} steps, so the "
                "same step means two things; collect both alike"
            )
        return replace(
            self, tensors=self.tensors | other.tensors, source=both, warning={**self.warning, **other.warning}
        )

    def save(self, folder: Path) -> Path:
        """Write the file, and beside it the authors' form of every fit: `svm/female_2.npy`."""
        file = folder / FILE
        about = {"base_hash": self.base_hash, "num_inference_steps": self.num_inference_steps, "facts": self.facts}
        tensors = {"/".join(map(str, key)): tensor.contiguous() for key, tensor in self.tensors.items()}
        with disk_errors(file), replacing(file) as partial:
            save_file(tensors, partial, metadata={METADATA: json.dumps(about, sort_keys=True)})
        after_a_step = sorted({step for _, _, step in self.tensors if step >= 0})  # the authors keep no noise
        for (fit, name, step), tensor in self.tensors.items():
            if step >= 0:
                npy = folder / fit / f"{name}_{after_a_step.index(step)}.npy"
                with disk_errors(npy), replacing(npy) as partial, partial.open("wb") as stream:
                    np.save(stream, tensor[None].numpy(), allow_pickle=False)
        return file


def load_directions(path: str | Path, pipeline: Pipeline, *, other_base: bool = False) -> Directions:
    """Open directions for a base.

    Args:
        path: as for `read_directions`.
        pipeline: the base.
        other_base: take those of another base too, if their shape fits; pictures made with them say so.

    Raises:
        UserError: see `read_directions`; or directions of another base or shape.
    """
    found, needed = read_directions(path), family_of(pipeline).latent_shape(pipeline)
    if found.shape != tuple(needed):
        raise UserError(
            f"{found.source}: its directions have the shape {times(found.shape)}, but this base's noise has "
            f"{times(needed)}; fit them on this base, or take the base that they were fitted on"
        )
    return replace(found, warning=learned_elsewhere(found.base_hash, pipeline, found.source, other_base))


def read_directions(path: str | Path) -> Directions:
    """Open a file that `fit.py` wrote, or its folder; or a `.npy` file of the authors' form, or a folder of such.

    Raises:
        UserError: nothing of the kind there, or a damaged file.
    """
    path = Path(path)
    if path.is_dir() and not (path / FILE).is_file() and (files := sorted(path.glob("*.npy"))):
        return _of_numpy(files, str(path))
    if path.suffix == ".npy":
        return _of_numpy([path], str(path))
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{path}: no directions are here; expected a folder with {FILE}, such a file, or .npy files")
    try:
        with safe_open(file, framework="pt") as content:
            about = json.loads((content.metadata() or {})[METADATA])
            tensors = {_key(name): content.get_tensor(name).float() for name in content.keys()}  # noqa: SIM118
            known = about["base_hash"], about["num_inference_steps"], about["facts"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} is not a file of latent directions, or a damaged one ({error})") from None
    return Directions(_checked(tensors, str(file)), *known, source=str(file))


def _key(name: str) -> tuple[str, str, int]:
    fit, of, step = name.split("/")
    return fit, of, int(step)


def _of_numpy(files: list[Path], source: str) -> Directions:
    tensors = {}
    for file in files:
        named = NPY.fullmatch(file.stem)
        if named is None:
            raise UserError(f"{file}: its name must be a class and the index of a step, e.g. female_2.npy")
        try:
            array = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(
                f"{file} can't be read as an array of numbers ({error}); a file that needs pickle is not opened, for "
                "it could run anything: write it again with numpy.save of a plain float array"
            ) from None
        if not np.issubdtype(array.dtype, np.floating) or array.ndim != 4 or len(array) != 1:
            raise UserError(f"{file} holds {times(array.shape)} of {array.dtype}; 1×C×h×w numbers are expected")
        tensors[PUBLISHED_FIT, named["name"], int(named["index"])] = torch.from_numpy(array[0].astype(np.float32))
    return Directions(_checked(tensors, source), source=source)


def _checked(tensors: dict[tuple[str, str, int], Tensor], source: str) -> dict[tuple[str, str, int], Tensor]:
    if not tensors:
        raise UserError(f"{source} holds no directions; take the file that fit.py wrote")
    shape = next(iter(tensors.values())).shape
    for (_, name, step), tensor in tensors.items():
        if tensor.ndim != 3 or not tensor.isfinite().all() or not tensor.any():
            raise UserError(f"{source}: the direction of {name} at step {step} is no vector of finite numbers")
        if tensor.shape != shape:
            raise UserError(f"{source} holds directions of two shapes, {times(shape)} and {times(tensor.shape)}")
    return tensors


def times(shape: tuple[int, ...] | torch.Size) -> str:
    return "×".join(map(str, shape))
