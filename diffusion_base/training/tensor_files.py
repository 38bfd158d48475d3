"""Named tensors in a folder of safetensors files, none of them twice."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion_base.errors import UserError

TAKE_OUT = "take it out and resume from an earlier one"
Places = dict[str, list[str]]  # a tensor's name → the file that holds it, and its name there


def find(folder: Path, tensors: Mapping[str, Tensor]) -> Places:
    """Which of the tensors some safetensors file in the folder holds already, bit for bit, and where."""
    places: Places = {}
    for file in sorted(folder.rglob("*.safetensors")):
        held: dict[Any, dict[str, Tensor]] = {}
        for key, tensor in load_file(file).items():  # mapped, not read
            held.setdefault((tensor.dtype, tensor.shape), {})[key] = tensor
        for name, tensor in tensors.items():
            alike = held.get((tensor.dtype, tensor.shape), {})
            if name in places or not alike:
                continue
            ours = _bits(tensor.cpu())
            if same := next((key for key, theirs in alike.items() if ours.equal(_bits(theirs))), None):
                places[name] = [file.relative_to(folder).as_posix(), same]
    return places


def write(file: Path, tensors: Mapping[str, Tensor], without: Mapping[str, Any]) -> None:
    """Save the tensors that are not among `without`; no file where none are left."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        if name not in without:  # as safetensors takes them: contiguous, no two in the same memory
            shared = tensor.data_ptr() in seen
            seen.add(tensor.data_ptr())
            apart[name] = tensor.clone(memory_format=torch.contiguous_format) if shared else tensor.contiguous()
    if apart:
        save_file(apart, file)


def read(folder: Path, name: str, places: Places) -> dict[str, Tensor]:
    """What `write` saved as `<name>.safetensors`, with the tensors that lie elsewhere.

    Raises:
        UserError: a file is missing or damaged.
    """
    file = folder / f"{name}.safetensors"
    try:
        tensors = load_file(file) if file.is_file() else {}
        for other in {where for where, _ in places.values()}:
            with safe_open(folder / other, framework="pt") as opened:
                tensors |= {ours: opened.get_tensor(key) for ours, (where, key) in places.items() if where == other}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder} is damaged ({error}): {TAKE_OUT}") from None
    return tensors


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
