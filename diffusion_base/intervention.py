"""One image, four doors: the protocol through which every alignment method changes a frozen base model.

    begin           once, first: all pictures are known; deal, check, whatever needs all of them
    swap_weights    WEIGHTS: the parameters, or a LoRA on them; in once, out at the end
    edit_text       PROMPT: its words, before they are encoded
    edit_prompts    PROMPT: the text conditioning, negative prompt included
    edit_latents    NOISE: the initial latents
    hook            BOTTLENECK: the denoiser's activations, e.g. a UNet's mid block
    end_of_step     the latents that each step leaves

Each is passed in this order, and in the order of the list by several interventions. `begin` and the weights come once
for all pictures of a call, the others once for every chunk of them, `end_of_step` at every step. A method implements
the doors it goes through and inherits the others, which do nothing.
"""

from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor

from diffusion_base.arguments import STRONGEST
from diffusion_base.conditioning import PromptEmbeddings
from diffusion_base.errors import UserError
from diffusion_base.pipeline import Pipeline
from diffusion_base.plugins import resolve


@dataclass
class Context:
    """What an intervention may know of the B pictures that are being made together.

    Attributes:
        pipeline: the base.
        prompts, negative_prompts, seeds: one entry a picture; row i of the batch is picture i. The prompts are as
            asked for, whatever became of their words.
        records: what the manifest says of each picture; empty dicts where there is no manifest.
        guided: whether classifier-free guidance doubles the denoiser's batch.
        step: index of the denoiser's current call, −1 before the first.
        timestep: that call's timestep, None before the first.
        guidance_scale, mixed_precision: as in `generate`, for those who make pictures of their own to look at.
    """

    pipeline: Pipeline
    prompts: list[str]
    negative_prompts: list[str]
    seeds: list[int]
    records: list[dict]
    guided: bool
    step: int = -1
    timestep: Tensor | None = None
    guidance_scale: float = 1.0
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"

    @cached_property
    def conditional_rows(self) -> Tensor:
        """Bool, over the denoiser's batch: (2B,) with guidance, [unconditional…, conditional…]; else (B,), all True."""
        conditional = torch.ones(len(self.prompts), dtype=torch.bool, device=self.pipeline.device)
        return torch.cat([~conditional, conditional]) if self.guided else conditional


class Intervention(Protocol):
    """A method at inference: what it changes, through which doors, how strongly.

    `diffusion_base.conformance` checks what any of them must keep to.
    """

    strength: float = 1.0
    """0 is not at all, 1 as trained. At 0 no door is passed: the pictures are the base's, bit for bit."""

    reads: tuple[str, ...] | None = None
    """What of a picture's record can change it, beside prompt and seed; None: anything may."""

    def begin(self, context: Context) -> None:
        """Get ready for all pictures of a call, of every chunk and process; once, before anything is changed.

        It starts afresh: nothing of an earlier call may be left. What must be released belongs into `swap_weights`.

        Raises:
            UserError: a picture that the method can't make, before any is begun.
        """
        return None

    def swap_weights(self, context: Context) -> AbstractContextManager:
        """Put weights in on entering and take them out on leaving; entered once, with the context of all pictures."""
        return nullcontext()

    def edit_text(self, context: Context, prompts: list[str]) -> list[str]:
        """Change the words of B prompts before they are encoded, so that no other intervention's work is undone.

        What reads the prompt itself, a value encoder for instance, goes on reading `context.prompts`.
        """
        return prompts

    def edit_prompts(
        self, context: Context, conditional: PromptEmbeddings, unconditional: PromptEmbeddings
    ) -> tuple[PromptEmbeddings, PromptEmbeddings]:
        """Change the embeddings of both branches, (B, T, D) each; both must keep the same T. Never in place."""
        return conditional, unconditional

    def edit_latents(self, context: Context, latents: Tensor) -> Tensor:
        """Change the initial noise (B, C, h, w), of unit variance: the scheduler's own scale comes after."""
        return latents

    def hook(self, context: Context, denoiser: torch.nn.Module) -> AbstractContextManager:
        """Hook the denoiser for the length of one pipeline call; its batch is that of `context.conditional_rows`."""
        return nullcontext()

    def end_of_step(self, context: Context, latents: Tensor) -> Tensor:
        """Change the latents (B, C, h, w) at the end of a step."""
        return latents

    @abstractmethod
    def describe(self) -> dict:
        """JSON that identifies the method, its weights and its options; two runs with equal descriptions are one."""


class Wrapped(Intervention):
    """Another intervention, forwarded through every door; a subclass overrides what it changes."""

    def __init__(self, inner: Intervention):
        self.inner = inner

    @property
    def strength(self) -> float:
        return self.inner.strength

    @strength.setter
    def strength(self, strength: float) -> None:
        self.inner.strength = strength

    @property
    def reads(self) -> tuple[str, ...] | None:
        return self.inner.reads

    @reads.setter
    def reads(self, reads: tuple[str, ...] | None) -> None:
        self.inner.reads = reads

    def begin(self, context: Context) -> None:
        self.inner.begin(context)

    def swap_weights(self, context: Context) -> AbstractContextManager:
        return self.inner.swap_weights(context)

    def edit_text(self, context: Context, prompts: list[str]) -> list[str]:
        return self.inner.edit_text(context, prompts)

    def edit_prompts(
        self, context: Context, conditional: PromptEmbeddings, unconditional: PromptEmbeddings
    ) -> tuple[PromptEmbeddings, PromptEmbeddings]:
        return self.inner.edit_prompts(context, conditional, unconditional)

    def edit_latents(self, context: Context, latents: Tensor) -> Tensor:
        return self.inner.edit_latents(context, latents)

    def hook(self, context: Context, denoiser: torch.nn.Module) -> AbstractContextManager:
        return self.inner.hook(context, denoiser)

    def end_of_step(self, context: Context, latents: Tensor) -> Tensor:
        return self.inner.end_of_step(context, latents)

    def describe(self) -> dict:
        return self.inner.describe()


def check_strengths(**strengths: float) -> None:
    """Refuse strengths, or weights of concepts, of which no picture can come.

    Raises:
        UserError: one of them is not in −100 … 100.
    """
    for name, strength in strengths.items():
        if not abs(strength) <= STRONGEST:  # NaN is not either
            raise UserError(f"{name} {strength:g}: it must be a number from -{STRONGEST} to {STRONGEST}")


def load_intervention(spec: str, pipeline: Pipeline) -> Intervention:
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
