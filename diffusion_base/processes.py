"""Which of the run's processes this is, and where it computes."""

import torch
from accelerate import PartialState


def use_cpu() -> bool:
    """Whether there is nothing but the CPU. Told so, Accelerate lets several CPU processes find each other."""
    return not torch.accelerator.is_available()


def process_state() -> PartialState:
    """This process among those of the run; made once, and before any Accelerator."""
    return PartialState(cpu=use_cpu())
