"""The LoRA that a preference fine-tuning trains."""

from collections.abc import Sequence

from peft import LoraConfig
from torch import nn

from diffusion_base.errors import UserError

ADAPTER = "preference"  # its name in the denoiser


def lora_config(denoiser: nn.Module, rank: int, alpha: float, targets: Sequence[str]) -> LoraConfig:
    """Of a LoRA on a denoiser's layers whose names end so, linear ones and convolutions.

    Raises:
        UserError: this base has no such layer.
    """
    layers = dict(denoiser.named_modules())
    for target in targets:
        found = [layer for name, layer in layers.items() if name == target or name.endswith(f".{target}")]
        if not found or not all(isinstance(layer, nn.Linear | nn.Conv2d) for layer in found):
            some = dict.fromkeys(
                name.split(".")[-1] for name, layer in layers.items() if isinstance(layer, nn.Linear | nn.Conv2d)
            )
            raise UserError(
                f"--lora_targets {target}: this base's {type(denoiser).__name__} has no linear layers or convolutions "
                f"of that name; it has {', '.join(name for name in some if not name.isdigit())}, and to_out.0"
            )
    return LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=list(targets))
