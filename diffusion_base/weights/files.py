"""Tensors from files, none of which can run code."""

from pathlib import Path
from pickle import UnpicklingError  # what torch raises of a file that it refuses; nothing is unpickled here
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from diffusion_base.errors import UserError


def read_state(file: str | Path) -> dict[str, Tensor]:
    """A state dict from .safetensors, or from .pt, .pth or .bin (`weights_only=True`), there also under "state_dict".

    Raises:
        UserError: no such file, a pickle of something else than tensors, or no state dict in it.
    """
    found = read_file(Path(file))
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{file}: a state dict, names and tensors, is needed")
    return found


def read_file(file: Path) -> Any:
    """Whatever a .safetensors, .npy, .pt, .pth or .bin holds, on the CPU; tensors of the first are mapped, not read.

    Raises:
        UserError: no such file, or a pickle of something else than tensors and plain containers.
    """
    if not file.is_file():
        raise UserError(f"{file}: there is no such file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        if file.suffix == ".npy":
            return torch.from_numpy(np.asarray(np.load(file, allow_pickle=False), dtype=np.float32))
        return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError:  # what torch says of it ends in advice to run the code
        raise UserError(
            f"{file}: no weights that can be read without running code (not a file of tensors); where it is trusted, "
            "load it there and save its state_dict() as safetensors"
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, SafetensorError) as error:
        raise UserError(f"{file}: no weights that can be read without running code ({first_line(error)})") from None


def first_line(error: BaseException) -> str:
    """What an error of another library says, without its advice to programmers."""
    return str(error).strip().partition("\n")[0]
