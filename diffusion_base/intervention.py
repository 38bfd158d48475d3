"""One image, four doors: the protocol through which every alignment method changes a frozen base model.

    prompt       edit_prompts    the text conditioning, negative prompt included
    noise        edit_latents    the initial latents
    bottleneck   hook            the UNet's activations, e.g. its mid block
    weights      swap_weights    the parameters, or a LoRA on them

A method implements the doors it goes through and inherits the others, which do nothing.
"""

from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from diffusion_base.conditioning import PromptEmbeddings
from diffusion_base.plugins import resolve


@dataclass
class Context:
    """What an intervention may know of the B pictures that are being made together.

    Attributes:
        pipeline: the base.
        prompts, negative_prompts, seeds: one entry a picture; row i of the batch is picture i.
        records: what the manifest says of each picture; empty dicts where there is no manifest.
        guided: whether classifier-free guidance doubles the UNet's batch.
        step: index of the UNet's current call, −1 before the first.
        timestep: that call's timestep, None before the first.
    """

    pipeline: Any
    prompts: list[str]
    negative_prompts: list[str]
    seeds: list[int]
    records: list[dict]
    guided: bool
    step: int = -1
    timestep: Tensor | None = None

    @cached_property
    def conditional_rows(self) -> Tensor:
        """Bool, over the UNet's batch: (2B,) with guidance, [unconditional…, conditional…]; else (B,), all True."""
        conditional = torch.ones(len(self.prompts), dtype=torch.bool, device=self.pipeline.device)
        return torch.cat([~conditional, conditional]) if self.guided else conditional


class Intervention(Protocol):
    """A method at inference: what it changes, through which doors, how strongly (0 = not at all, 1 = as trained)."""

    strength: float = 1.0
    reads: tuple[str, ...] | None = None
    """What of a picture's record can change it, beside prompt and seed; None: anything may."""

    def swap_weights(self, context: Context) -> AbstractContextManager:
        """Put weights in on entering and take them out on leaving; entered once for all pictures, before the prompts
        are encoded, with the context of all of them."""
        return nullcontext()

    def edit_prompts(
        self, context: Context, conditional: PromptEmbeddings, unconditional: PromptEmbeddings
    ) -> tuple[PromptEmbeddings, PromptEmbeddings]:
        """Change the embeddings of both branches, (B, T, D) each; both must keep the same T. Never in place."""
        return conditional, unconditional

    def edit_latents(self, context: Context, latents: Tensor) -> Tensor:
        """Change the initial noise (B, C, h, w), of unit variance: the scheduler's own scale comes after."""
        return latents

    def hook(self, context: Context, unet: torch.nn.Module) -> AbstractContextManager:
        """Hook the UNet for the length of one pipeline call; its batch is that of `context.conditional_rows`."""
        return nullcontext()

    def end_of_step(self, context: Context, latents: Tensor) -> Tensor:
        """Change the latents (B, C, h, w) at the end of a step."""
        return latents

    @abstractmethod
    def describe(self) -> dict:
        """JSON that identifies the method, its weights and its options; two runs with equal descriptions are one."""


def load_intervention(spec: str, pipeline) -> Intervention:
    """Load the method that a command line names.

    Args:
        spec: `package:path?option=value&option=value`. The path and options go to that package's
            `load_intervention(path, *, pipeline, **options)`, options converted to the types annotated there; `%26`
            and the like stand for characters with a meaning in the spec.
        pipeline: the base to be changed.

    Raises:
        UserError: no such package, it holds no interventions, or an option is unknown, missing or of the wrong type.
    """
    load, path, options = resolve(spec, "load_intervention", reserved=("pipeline",))
    return load(path, pipeline=pipeline, **options)
