"""DeepSpeed's ZeRO-2, as accelerate runs it: the optimizer's state and the gradients are split, the parameters whole.

The network stays in float32 and autocast computes in half precision, as without DeepSpeed: so what is saved, averaged
and shown is what is trained. DeepSpeed's own half precision is left off.
"""

import importlib.util
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from accelerate.utils import DeepSpeedPlugin
from accelerate.utils.deepspeed import DeepSpeedOptimizerWrapper
from torch import Tensor, nn

from diffusion_base.errors import UserError
from diffusion_base.training.arguments import TrainingArguments


def plugin(arguments: TrainingArguments) -> DeepSpeedPlugin:
    """DeepSpeed's settings: the launch's, but what our flags say.

    Raises:
        UserError: it is not installed; a stage other than 1 and 2; an optimizer that needs whole parameters.
    """
    if arguments.optimizer == "adafactor":
        raise UserError("with DeepSpeed give --optimizer adamw: ZeRO-2 splits its state, so others save nothing")
    if importlib.util.find_spec("deepspeed") is None:
        raise UserError("launched with DeepSpeed, which is not installed: pip install deepspeed")
    plugin = DeepSpeedPlugin()
    if plugin.zero_stage not in (1, 2):
        raise UserError(
            f"DeepSpeed's ZeRO stage {plugin.zero_stage} can't be used here: say zero_stage: 2, as"
            " scripts/accelerate/zero2.yaml does, or split the parameters too by scripts/accelerate/fsdp2.yaml"
        )
    if plugin.deepspeed_config["zero_optimization"].get("offload_optimizer", {}).get("device", "none") != "none":
        raise UserError("offload_optimizer_device can't be used here: say none, as scripts/accelerate/zero2.yaml does")
    plugin.deepspeed_config |= {
        "train_micro_batch_size_per_gpu": arguments.train_batch_size,
        "gradient_accumulation_steps": arguments.gradient_accumulation_steps,
        "gradient_clipping": arguments.max_grad_norm if math.isfinite(arguments.max_grad_norm) else 0.0,
        "bf16": {"enabled": False},
        "fp16": {"enabled": False},
    }
    return plugin


def read_state(optimizer: DeepSpeedOptimizerWrapper) -> dict[str, Tensor | Callable[[], Tensor]]:
    """What AdamW remembers, by "<parameter's number>.<name>", as without DeepSpeed: tensors, or how to gather one."""
    from deepspeed.utils import safe_get_full_optimizer_state

    state: dict[str, Tensor | Callable[[], Tensor]] = {}
    for part, parameters in _parts(optimizer):
        for number, parameter in parameters.items():
            for name, value in optimizer.state[part].items():
                gathered = partial(safe_get_full_optimizer_state, parameter, name)
                state[f"{number}.{name}"] = value if name == "step" else gathered
    return state


def restore_state(optimizer: DeepSpeedOptimizerWrapper, moments: dict[int, dict[str, Any]]) -> None:
    """Put back what AdamW remembered of each parameter; the parameters themselves have been put back before."""
    from deepspeed.utils import safe_set_full_optimizer_state

    optimizer.optimizer.refresh_fp32_params()  # DeepSpeed's own copy of what was put back
    for part, parameters in _parts(optimizer):
        for name, value in moments[min(parameters)].items():
            optimizer.state[part][name] = value.clone() if name == "step" else torch.zeros_like(part)
    optimizer.optimizer._lazy_init_hp_params_optimizer_state()  # else DeepSpeed knows of it after its first step only
    for _, parameters in _parts(optimizer):
        for number, parameter in parameters.items():
            for name, value in moments[number].items():
                if name != "step":
                    safe_set_full_optimizer_state(parameter, value.to(parameter.device), name)


def _parts(optimizer: DeepSpeedOptimizerWrapper) -> Iterator[tuple[Tensor, dict[int, nn.Parameter]]]:
    """This process's part of each group's parameters, all in one row, and the whole parameters by their numbers."""
    zero, first = optimizer.optimizer, 0
    for parameters, part in zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True):
        yield part, dict(enumerate(parameters, start=first))
        first += len(parameters)
