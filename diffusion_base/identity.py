"""What things are known by, wherever they lie: hashes of JSON values, files, tensors, weights and bases."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion_base.errors import UserError

if TYPE_CHECKING:  # not imported here: whoever has tensors has torch
    import torch


def digest(*parts: bytes | memoryview) -> str:
    """The sha256 of the parts, one after the other, in hex."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()


def file_hash(file: Path) -> str:
    """The sha256 of a file of any size, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def json_hash(value: Any) -> str:
    """16 hex digits of a JSON value."""
    return digest(json.dumps(value, sort_keys=True).encode())[:16]


def content_keys(paths: Iterable[Path]) -> list[str]:
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


def tensor_hash(tensor: "torch.Tensor") -> str:
    """16 hex digits of a tensor's shape and float32 content."""
    return digest(repr(tuple(tensor.shape)).encode(), _content(tensor.float()))[:16]


def weights_hash(modules: "dict[str, torch.nn.Module]") -> str:
    """16 hex digits that identify the weights of named modules, in the precision they have."""
    tensors = [
        (f"{component}.{name} {tensor.dtype} {tuple(tensor.shape)}", tensor)
        for component, module in modules.items()
        for name, tensor in sorted(module.state_dict().items())
    ]

    def one(named: "tuple[str, torch.Tensor]") -> bytes:
        name, tensor = named
        return hashlib.sha256(name.encode() + hashlib.sha256(_content(tensor)).digest()).digest()

    with ThreadPoolExecutor() as pool:
        return digest(*pool.map(one, tensors))[:16]


def model_version(model: "torch.nn.Module", words: Sequence[str] = ()) -> str:
    """16 hex digits that identify a judge: its weights, and the words that it asks with."""
    parts: list[bytes | memoryview] = [repr(tuple(words)).encode()]
    for name, tensor in sorted(model.state_dict().items()):
        parts += [name.encode(), _content(tensor)]
    return digest(*parts)[:16]


def base_hash(pipeline: Any) -> str:
    """16 hex digits that identify the weights of a base, in the precision they were loaded in, wherever they lie."""
    from torch.nn import Module

    components = sorted(pipeline.components.items())
    return weights_hash({name: part for name, part in components if isinstance(part, Module)})


def learned_elsewhere(recorded: str | None, pipeline: Any, source: str, other_base: bool) -> dict[str, str]:
    """What the description of something learned must say of its base: nothing where that is this base, or not known.

    Args:
        recorded: the hash of the base that it was learned on.
        pipeline: the base that it is to be used on.
        source: what was learned, for the error.
        other_base: whether another base is meant to be taken, such as a fine-tune.

    Raises:
        UserError: it was learned on another base, and that is not meant.
    """
    if recorded is None or recorded == (here := base_hash(pipeline)):
        return {}
    if not other_base:
        raise UserError(
            f"{source} was learned on another base ({recorded}, not {here}): take that one, or learn it on this one; "
            "where this one is a fine-tune of it, other_base=true says so"
        )
    return {"warning": f"learned on another base, {recorded}"}


def _content(tensor: "torch.Tensor") -> memoryview:
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
