"""Diffusion-DPO on a LoRA: a method to copy, rename and change. docs/new_method.md walks through it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusion_base.pipeline import Pipeline


def load_intervention(path: str, *, pipeline: "Pipeline", strength: float = 1.0, other_base: bool = False):
    """The `Lora` that `my_method:runs/mine?strength=0.5` on a command line names."""
    from my_method.inference import Lora  # torch, only once it is needed

    return Lora(path, pipeline=pipeline, strength=strength, other_base=other_base)
