"""One random LoRA in every layout that people publish, and the change that it is."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_kohya
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file

from diffusion_base.pipeline import Pipeline
from tests.tiny import tiny_pipeline

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
CONVOLUTIONS = ("conv1", "conv_shortcut", "proj_in")


@dataclass
class Lora:
    """A random LoRA on a UNet, as peft holds it.

    Attributes:
        tensors: peft's names, of the UNet's layers.
        config: peft's.
        changed: the UNet's parameters with the LoRA merged by peft; those that it doesn't touch are left out.
    """

    tensors: dict[str, torch.Tensor]
    config: LoraConfig
    changed: dict[str, torch.Tensor]

    @property
    def layers(self) -> list[str]:
        return sorted({name.partition(".lora_")[0] for name in self.tensors})


@cache
def random_lora(kind="sd1", targets: tuple[str, ...] = ATTENTION, rank=2, alpha=2, patterns=False) -> Lora:
    """One for `tiny_pipeline(kind)`; keep it as it is."""
    unet = tiny_pipeline(kind).unet
    differing = {"alpha_pattern": {"attn2.to_k": 3}, "rank_pattern": {"to_v": 4}, "use_rslora": True}
    config = differing if patterns else {}
    lora_config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), **config)
    unet.add_adapter(lora_config, adapter_name="some")
    generator = torch.Generator().manual_seed(rank)
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.3, generator=generator)
    tensors = {name: tensor.clone() for name, tensor in get_peft_model_state_dict(unet, adapter_name="some").items()}
    changed = {}
    for name, layer in unet.named_modules():
        if isinstance(layer, LoraLayer):
            layer.merge()
            changed[f"{name}.weight"] = layer.get_base_layer().weight.detach().clone()
    return Lora(tensors, lora_config, changed)


def save_diffusers(lora: Lora, file: Path) -> None:
    """As diffusers' scripts do today."""
    with_config = (
        {"unet_lora_adapter_metadata": lora.config.to_dict()} if lora.config.lora_alpha != lora.config.r else {}
    )
    StableDiffusionPipeline.save_lora_weights(file.parent, lora.tensors, weight_name=file.name, **with_config)


def save_former_diffusers(lora: Lora, file: Path) -> None:
    """As they did before peft."""
    ends = {"lora_A": "lora.down", "lora_B": "lora.up"}
    save_file({f"unet.{_replaced(name, ends)}": tensor for name, tensor in lora.tensors.items()}, file)


def save_peft(lora: Lora, file: Path) -> None:
    """As `PeftModel.save_pretrained` does, with the configuration beside it."""
    save_file({f"base_model.model.{name}": tensor for name, tensor in lora.tensors.items()}, file)
    (file.parent / "adapter_config.json").write_text(
        json.dumps({key: value for key, value in lora.config.to_dict().items() if key != "target_modules"}, default=str)
    )


def save_kohya(lora: Lora, file: Path) -> None:
    """As kohya's scripts do, and concept sliders: alpha beside each layer."""
    named = {f"unet.{name}": tensor for name, tensor in lora.tensors.items()}
    tensors = convert_state_dict_to_kohya(named)
    alpha = {name: torch.tensor(float(lora.config.lora_alpha)) for name in tensors if name.endswith(".alpha")}
    (torch.save if file.suffix == ".pt" else save_file)(tensors | alpha, file)


def save_attention_processors(lora: Lora, file: Path) -> None:
    """As align_sd does: the attention processors' state dict, pickled."""
    tensors = {}
    for name, tensor in lora.tensors.items():
        name = (
            name.replace("to_out.0", "to_out")
            .replace("attn1.", "attn1.processor.")
            .replace("attn2.", "attn2.processor.")
        )
        tensors[_replaced(name, {".lora_A": "_lora.down", ".lora_B": "_lora.up"})] = tensor
    torch.save(tensors, file)


def _replaced(name: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        name = name.replace(old, new)
    return name


def parameters(pipeline: Pipeline) -> dict[str, torch.nn.Parameter]:
    return dict(pipeline.unet.named_parameters())
