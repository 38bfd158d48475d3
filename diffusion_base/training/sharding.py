"""Parameters that are split over devices, as torch's `fully_shard` (FSDP2) splits them: each process holds a part.

What is trained is split; what is frozen lies whole on every device, where anything may run it at any time. Whatever
gathers or runs split parameters is a meeting of all processes: each must call it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from diffusion_base.processes import process_state


def gather(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whole, in the main process; in the others nothing. Every process calls it with the same names."""
    main, whole = process_state().is_main_process, {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
        if main:
            whole[name] = full
    return whole


def put(target: Tensor, whole: Tensor) -> None:
    """Copy a whole tensor, which every process has, into one that may be split."""
    target.copy_(split_like(target, whole))


def split_like(target: Tensor, whole: Tensor) -> Tensor:
    """A whole tensor, which every process has, split as `target` is."""
    if not isinstance(target, DTensor):
        return whole
    return distribute_tensor(whole.to(target.device), target.device_mesh, target.placements, src_data_rank=None)


@contextmanager
def whole_on_main(module: nn.Module) -> Iterator[None]:
    """Inside, the main process's split parameters are whole, on the CPU, to be saved; the other processes' are not."""
    split = [
        (owner, name, parameter)
        for owner in module.modules()
        for name, parameter in owner.named_parameters(recurse=False)
        if isinstance(parameter, DTensor)
    ]
    main = process_state().is_main_process
    for owner, name, parameter in split:
        full = parameter.full_tensor()
        if main:
            setattr(owner, name, nn.Parameter(full.cpu(), parameter.requires_grad))
    try:
        yield
    finally:
        if main:
            for owner, name, parameter in split:
                setattr(owner, name, parameter)
