"""Parameters that are split over devices, as torch's `fully_shard` (FSDP2) splits them: each process holds a part.

What is trained is split; what is frozen lies whole on every device, where anything may run it at any time. What gathers
or runs split parameters is a meeting of all processes: each must call it. Where nothing is split, nothing is done.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from diffusion_base.errors import UserError
from diffusion_base.processes import process_state

Parted: TypeAlias = Tensor | Callable[[], Tensor]  # a tensor that may be split, or what gathers one
SMALLEST_PART = 5_000_000  # parameters that are gathered together at least: fewer would keep the devices waiting


def wanted() -> bool:
    """Whether this process was launched to train split parameters (FSDP), among others."""
    launched = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"  # which a CPU's Accelerator ignores
    return launched and process_state().num_processes > 1


def check_launch(precision: str) -> None:
    """Refuse, before anything is made, what split parameters can't be trained with.

    Raises:
        UserError: launched with FSDP's first version, with fp16, or with what leaves a process without weights.
    """
    if not wanted():
        return
    for flag in ("cpu_ram_efficient_loading", "offload_params"):
        if os.environ.get(f"FSDP_{flag}".upper(), "false").lower() == "true":
            raise UserError(f"fsdp_{flag} can't be used here: say false, as scripts/accelerate/fsdp2.yaml does")
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise UserError(
            "FSDP's first version can't be used here: say fsdp_version: 2, as scripts/accelerate/fsdp2.yaml does"
        )
    if precision == "fp16":
        raise UserError("--mixed_precision fp16 can't be used with split parameters: bf16 needs no scaling")


def split(task: nn.Module, accelerator: Accelerator) -> None:
    """Split what is trained over the processes where they were launched for it, each with its own device.

    The parameters become others: collect them afterwards. They stay in float32, and are gathered in it: autocast
    computes in half precision, as without splitting.
    """
    if not wanted():
        return
    task.to(accelerator.device)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    frozen = {parameter for parameter in task.parameters() if not parameter.requires_grad}
    for module in reversed(list(task.modules())):  # from the leaves to the task itself
        own = [p.numel() for p in module.parameters() if p.requires_grad and not isinstance(p, DTensor)]
        block = any(module.children()) and not isinstance(module, nn.ModuleList | nn.ModuleDict)
        if module is task or (block and sum(own) >= SMALLEST_PART):
            fully_shard(module, mesh=mesh, ignored_params=frozen)


def prepare(task: nn.Module, optimizer: Optimizer, accelerator: Accelerator) -> tuple[nn.Module, AcceleratedOptimizer]:
    """What to call instead of the task, and the optimizer, as accelerate prepares both."""
    if wanted():  # already where they belong
        return task, accelerator.prepare_optimizer(optimizer)
    return accelerator.prepare(task, optimizer)


def autocast(accelerator: Accelerator, precision: str) -> AbstractContextManager:
    """For a step's forward pass, where accelerate hasn't wrapped the task in it."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:  # which was told that there is no half precision
        return torch.autocast(accelerator.device.type, torch.bfloat16, enabled=precision == "bf16")
    return accelerator.autocast()


def clip(parameters: list[nn.Parameter], max_norm: float, accelerator: Accelerator) -> Tensor:
    """Scale the gradients down to a norm of at most `max_norm`; returns the norm that they had."""
    norm = accelerator.clip_grad_norm_(parameters, max_norm)
    if isinstance(norm, Tensor):
        return whole(norm)
    return torch.tensor(norm, device=accelerator.device)  # DeepSpeed has clipped them already, and says a number


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be split, in every process."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather(tensors: Mapping[str, Parted]) -> dict[str, Tensor]:
    """The tensors whole, in the main process; in the others nothing. Every process calls it with the same names."""
    main, gathered = process_state().is_main_process, {}
    for name, tensor in tensors.items():  # one after the other: a device need not hold all of them
        full = whole(tensor) if isinstance(tensor, Tensor) else tensor()
        if main:
            gathered[name] = full if full is tensor else full.cpu()
    return gathered


def split_like(target: Tensor, tensor: Tensor) -> Tensor:
    """A whole tensor, which every process has, split as `target` is."""
    if not isinstance(target, DTensor):
        return tensor
    return distribute_tensor(tensor.to(target.device), target.device_mesh, target.placements, src_data_rank=None)


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
        full = whole(parameter)
        if main:
            setattr(owner, name, nn.Parameter(full.cpu(), parameter.requires_grad))
    try:
        with _as_made(module):
            yield
    finally:
        for owner, name, parameter in split if main else ():
            setattr(owner, name, parameter)


@contextmanager
def runnable(task: nn.Module) -> Iterator[None]:
    """Inside, what is trained may be run by itself, in a process alone and without gradients: to make pictures."""
    parts = [module for module in task.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        with _as_made(task):
            yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(part is not task, recurse=False)  # torch's default: all but the root


@contextmanager
def _as_made(module: nn.Module) -> Iterator[None]:
    """Inside, split modules are of the class they were made of: the one whose name goes into their configurations, and
    whose `to` doesn't split them again."""
    parts = [(part, type(part)) for part in module.modules() if isinstance(part, FSDPModule)]
    for part, kind in parts:
        part.__class__ = kind.__bases__[1]  # type: ignore[assignment]  # of (FSDPModule, what it was)
    try:
        yield
    finally:
        for part, kind in parts:
            part.__class__ = kind
