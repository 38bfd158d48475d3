"""One array of a local file, and weights put into a judge."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from diffusion_base.errors import UserError
from diffusion_base.weights.files import read_file


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
    found = read_file(file)
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
