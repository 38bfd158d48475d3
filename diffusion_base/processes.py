"""Which of the run's processes this is, and where it computes."""

import torch
from accelerate import PartialState

from diffusion_base.errors import UserError


def use_cpu() -> bool:
    """Whether there is nothing but the CPU. Told so, Accelerate lets several CPU processes find each other."""
    return not torch.accelerator.is_available()


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
    """This process among those of the run; made once, and before any Accelerator."""
    return PartialState(cpu=use_cpu())
