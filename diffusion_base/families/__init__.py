"""What differs between the families of bases, one small module each; all other code is the same for all of them.

A new family is a module here with the members of `Family`, its name in `FAMILIES`, and its class in `Pipeline`.
"""

from typing import Any, Protocol, TypeAlias

import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from torch import Tensor

from diffusion_base.errors import UserError
from diffusion_base.families import sd, sd3, sdxl
from diffusion_base.families.layouts import Layouts
from diffusion_base.families.text import PromptEmbeddings
from diffusion_base.noising import ForwardProcess

Pipeline: TypeAlias = StableDiffusionPipeline | StableDiffusionXLPipeline | StableDiffusion3Pipeline


class Family(Protocol):
    """The members of a family's module."""

    NAME: str
    """As people call it."""
    PIPELINE: Any
    """The class of its diffusers pipeline."""
    DENOISER: Any
    """The class of the module that predicts."""
    COMPONENTS: tuple[str, ...]
    """Those that a base can't be without."""
    LAYOUTS: Layouts
    """How other programs name its networks."""

    def loading_options(self, index: dict[str, Any]) -> dict[str, Any]:
        """Arguments of that class's `from_pretrained`, for a base with this model_index.json."""

    def sampling_scheduler(self, pipeline: Pipeline) -> Any:
        """What `load_pipeline` puts in the place of the base's own scheduler."""

    def denoiser(self, pipeline: Pipeline) -> torch.nn.Module:
        """The module that predicts."""

    def encode_prompts(self, pipeline: Pipeline, prompts: list[str]) -> PromptEmbeddings:
        """As the pipeline itself would encode them, bit for bit on the same batch."""

    def encode_negative_prompts(self, pipeline: Pipeline, prompts: list[str]) -> PromptEmbeddings:
        """Likewise; an empty prompt counts as unset."""

    def embedding_arguments(
        self, conditional: PromptEmbeddings, unconditional: PromptEmbeddings | None
    ) -> dict[str, Any]:
        """What the pipeline's call is given of both branches; None where there is no guidance."""

    def is_guided(self, pipeline: Pipeline, guidance_scale: float) -> bool:
        """Whether the denoiser's batch holds an unconditional row for each conditional one, before all of those."""

    def timestep(self, arguments: tuple, options: dict[str, Any]) -> Tensor:
        """Of a call of the denoiser by the pipeline: a scalar."""

    def latent_shape(self, pipeline: Pipeline, height: int | None = None, width: int | None = None) -> tuple:
        """(C, h, w) of one picture's latents, at a size in pixels; None is the base's own."""

    def predict(
        self,
        pipeline: Pipeline,
        x_t: Tensor,
        t: Tensor,
        text: PromptEmbeddings,
        size: tuple[int, int] | Tensor | None = None,
    ) -> Tensor:
        """What the denoiser says, (B, C, h, w), with gradients wherever they are wanted.

        Args:
            x_t, t: noisy latents (B, C, h, w) and their timesteps (B,).
            text: of B prompts.
            size: of the pictures, (height, width) in pixels, for the families whose denoiser is told; None is the
                latents' own. Or of each picture (B, 6): its height and width before it was scaled, the top and left of
                the cut, and the height and width of that.
        """

    def forward_process(self, pipeline: Pipeline, prediction_type: str | None = None) -> ForwardProcess:
        """How the base's pictures are noised in training, and what the denoiser is asked for.

        Args:
            prediction_type: "epsilon" or "v_prediction", for a base whose scheduler says the wrong one.

        Raises:
            UserError: the family's denoiser predicts neither.
        """


FAMILIES: tuple[Family, ...] = (sd, sdxl, sd3)
DENOISERS: tuple[type[torch.nn.Module], ...] = tuple(family.DENOISER for family in FAMILIES)


def family_of(pipeline: Pipeline) -> Family:
    """The family that a pipeline belongs to.

    Raises:
        UserError: to none of them.
    """
    for family in FAMILIES:
        if isinstance(pipeline, family.PIPELINE):
            return family
    raise UserError(f"{type(pipeline).__name__} is no base that this repository knows; it knows {known()}")


def known() -> str:
    """The families' names, for a sentence."""
    return ", ".join(family.NAME for family in FAMILIES)


def own_size(pipeline: Pipeline) -> tuple[int, int]:
    """(height, width) in pixels of the pictures that the base was trained on."""
    _, h, w = family_of(pipeline).latent_shape(pipeline)
    return h * pipeline.vae_scale_factor, w * pipeline.vae_scale_factor
