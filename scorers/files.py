"""Weights from local files, none of which can run code."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # what torch raises of a file that it refuses; nothing is unpickled here
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from diffusion_base.errors import UserError


def read_state(file: str | Path) -> dict[str, Tensor]:
    """A state dict from .safetensors, or from .pt, .pth or .bin (`weights_only=True`), there also under "state_dict".

    Raises:
        UserError: no such file, a pickle of something else than tensors, or no state dict in it.
    """
    found = _read(Path(file))
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{file}: a state dict, names and tensors, is needed")
    return found


def read_array(file: str | Path) -> Tensor:
    """The one float32 tensor of a .npy (`allow_pickle=False`), .safetensors, .pt or .pth file.

    Raises:
        UserError: no such file, a pickle, or not exactly one tensor in it.
    """
    file = Path(file)
    if file.is_file() and file.suffix not in (".npy", ".safetensors", ".pt", ".pth"):
        raise UserError(
            f"{file}: only .npy, .safetensors, .pt and .pth are read, because a pickle can run code; scorers/README.md "
            "tells how to convert one"
        )
    found = _read(file)
    tensors = list(found.values()) if isinstance(found, dict) else [found]
    if len(tensors) != 1 or not isinstance(tensors[0], Tensor):
        raise UserError(f"{file}: one tensor is needed, and nothing else")
    return tensors[0].float()


def fill(module: nn.Module, state: Mapping[str, Tensor], source: str, what: str) -> None:
    """Put weights into a module that must have exactly their names and shapes.

    Raises:
        UserError: `source` is not `what`; names the first tensor that shows it.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if wanted != given:
        name = min(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
        found, needed = given.get(name, "missing"), wanted.get(name, "nothing of that name")
        raise UserError(f"{source} is not {what}: {name} is {found}, where {needed} is needed")
    module.load_state_dict({name: tensor.float() for name, tensor in state.items()})


def _read(file: Path) -> Any:
    if not file.is_file():
        raise UserError(f"{file}: there is no such file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        if file.suffix == ".npy":
            return torch.from_numpy(np.asarray(np.load(file, allow_pickle=False), dtype=np.float32))
        return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError:  # what torch says of it ends in advice to run the code
        raise UserError(f"{file}: no weights that can be read without running code (not a file of tensors)") from None
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, SafetensorError) as error:
        raise UserError(f"{file}: no weights that can be read without running code ({first_line(error)})") from None


def first_line(error: BaseException) -> str:
    """What an error of another library says, without its advice to programmers."""
    return str(error).strip().partition("\n")[0]
