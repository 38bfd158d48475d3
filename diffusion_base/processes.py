"""Which of the run's processes this is, where it computes, and on how many cores."""

import os
from datetime import timedelta

import psutil
import torch
from accelerate import PartialState

from diffusion_base.errors import UserError

PATIENCE = timedelta(hours=1)  # for a process that writes or encodes while the others wait: NCCL's own is 10 minutes
LAUNCHERS = {"ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"}  # the marks of `accelerate launch` and torchrun


def use_cpu() -> bool:
    """Whether there is nothing but the CPU. Told so, Accelerate lets several CPU processes find each other."""
    return not torch.accelerator.is_available()


def wants_deepspeed() -> bool:
    """Whether this process was launched to train with DeepSpeed, and can."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true" and not use_cpu()


def usable_device(name: str | torch.device | None) -> torch.device:
    """A device by name; None is the GPU where there is one.

    Raises:
        UserError: this machine has no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch's words for it depend on how it was built
        reason = str(error).partition("\n")[0]
        raise UserError(f"--device {name} can't be used here ({reason}); leave it out to take what there is") from None
    return device


def process_state() -> PartialState:
    """This process among those of the run; made once, and before any Accelerator.

    On a CPU the processes of a machine share its cores, unless the user said how many threads there shall be:
    `accelerate launch` would leave each of them a single one.
    """
    state = PartialState(cpu=use_cpu(), timeout=PATIENCE)
    if state.device.type == "cpu" and _limited_by_the_launcher():
        torch.set_num_threads(max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    return state


def _limited_by_the_launcher() -> bool:
    """Whether a launcher made it one thread of itself: it started without that variable and without a flag for it."""
    if os.environ.get("OMP_NUM_THREADS") != "1" or not LAUNCHERS & os.environ.keys():
        return False
    try:
        launcher = psutil.Process(os.getppid())
        asked = any("num_cpu_threads" in word.replace("-", "_") for word in launcher.cmdline())
        return not asked and "OMP_NUM_THREADS" not in launcher.environ()
    except psutil.Error:  # it ended, or belongs to somebody else
        return True


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
