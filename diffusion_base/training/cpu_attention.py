"""Attention that a CPU differentiates fast under bfloat16 autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


def fast_attention(accelerator: Accelerator, gradient_checkpointing: bool) -> AbstractContextManager:
    """For a step's forward pass: `Float32Attention` where it pays."""
    pays = accelerator.device.type == "cpu" and accelerator.mixed_precision == "bf16"
    # a mode of torch's functions is off inside backward(), where checkpointing runs the forward pass again
    return Float32Attention() if pays and not gradient_checkpointing else nullcontext()


class Float32Attention(TorchFunctionMode):
    """Inside, attention that will be differentiated is computed in float32, whatever autocast says.

    torch 2.13 takes two to four times as long to differentiate bfloat16 attention on a CPU as float32 attention.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        args, kwargs = [as_float32(value) for value in args], {key: as_float32(value) for key, value in kwargs.items()}
        with torch.autocast("cpu", enabled=False):
            return func(*args, **kwargs).to(torch.get_autocast_dtype("cpu"))


def as_float32(value):
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
