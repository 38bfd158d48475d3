"""The optimizers that a run can name: AdamW, AdamW with its state in 8 bits, Adafactor."""

from collections.abc import Iterable
from typing import Any

import torch
from accelerate.utils.deepspeed import DeepSpeedOptimizerWrapper
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer

from diffusion_base.errors import UserError
from diffusion_base.training import zero2
from diffusion_base.training.arguments import TrainingArguments
from diffusion_base.training.sharding import Parted, split_like


def build_optimizer(
    groups: Iterable[dict[str, Any]], arguments: TrainingArguments, *, samples_per_step: int, device: torch.device
) -> Optimizer:
    """The optimizer that `arguments` ask for.

    Args:
        groups: {"params": [...]} each, as torch's optimizers take them; a group's own "lr" or "weight_decay" counts
            there instead of the arguments'. The learning rate's schedule and --scale_lr multiply every group's.
        samples_per_step: what --scale_lr multiplies the learning rate by.
        device: where the parameters will be.

    Raises:
        UserError: 8 bits are asked for, and bitsandbytes is not installed; the parameters are split, and the optimizer
            can't follow them.
        ValueError: a parameter is not in float32.
    """
    groups = [dict(group) for group in groups]
    parameters = [parameter for group in groups for parameter in group["params"]]
    if any(parameter.dtype != torch.float32 for parameter in parameters):
        raise ValueError("what is trained must be in float32, whatever the precision of the computation")
    scale = samples_per_step if arguments.scale_lr else 1
    for group in groups:
        group["lr"] = group.get("lr", arguments.learning_rate) * scale
    weight_decay = arguments.adam_weight_decay
    if (arguments.eight_bits or arguments.optimizer == "adafactor") and any(isinstance(p, DTensor) for p in parameters):
        raise UserError("split parameters (FSDP2) are trained by --optimizer adamw, whose state is split with them")

    if arguments.optimizer == "adafactor":
        from transformers.optimization import Adafactor  # 1.4 s, only once it is needed

        # a step of the given size, as with AdamW (and as in Diffusion-DPO), not one of the parameter's own scale
        return Adafactor(
            groups, lr=arguments.learning_rate, weight_decay=weight_decay, scale_parameter=False, relative_step=False
        )
    adam: dict[str, Any] = {
        "betas": (arguments.adam_beta1, arguments.adam_beta2),
        "weight_decay": weight_decay,
        "eps": arguments.adam_epsilon,
    }
    if arguments.eight_bits:
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError:
            raise UserError("--optimizer adamw_8bit needs bitsandbytes: pip install bitsandbytes") from None
        return AdamW8bit(groups, **adam)
    # The fused kernel skips a step that overflowed in fp16 inside itself, where accelerate can't see it.
    fused = device.type == "cuda" and arguments.precision != "fp16"
    return AdamW(groups, **adam, fused=fused or None)


def read_state(optimizer: Optimizer) -> tuple[dict[str, Parted], dict[str, float]]:
    """What the optimizer remembers, by "<parameter's number>.<name>": tensors, which share its memory, and numbers."""
    if isinstance(optimizer, DeepSpeedOptimizerWrapper):
        return zero2.read_state(optimizer), {}
    tensors: dict[str, Parted] = {}
    numbers: dict[str, float] = {}
    for number, parameter in enumerate(_parameters(optimizer)):
        # not from state_dict(), where bitsandbytes hides its tensors one level deeper
        for name, value in optimizer.state.get(parameter, {}).items():
            target: dict[str, Any] = tensors if isinstance(value, Tensor) else numbers
            target[f"{number}.{name}"] = value
    return tensors, numbers


def restore_state(optimizer: Optimizer, state: dict[str, Any], groups: list[dict[str, Any]]) -> None:
    """Put back what `read_state` gave, tensors and numbers together, and the learning rates of the saved groups.

    All else in a group is said by the arguments and by the machine.
    """
    moments: dict[int, dict[str, Any]] = {}
    for key, value in state.items():
        number, name = key.split(".", 1)
        moments.setdefault(int(number), {})[name] = value
    rates = [{key: group[key] for key in ("lr", "initial_lr")} for group in groups]
    if isinstance(optimizer, DeepSpeedOptimizerWrapper):
        zero2.restore_state(optimizer, moments)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group |= rate
        return
    for index, parameter in enumerate(_parameters(optimizer)):
        for name, value in moments.get(index, {}).items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                moments[index][name] = split_like(parameter, value)
    ours = optimizer.state_dict()["param_groups"]
    merged = [group | rate for group, rate in zip(ours, rates, strict=True)]
    optimizer.load_state_dict({"state": moments, "param_groups": merged})


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
