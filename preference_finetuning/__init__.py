"""Preference fine-tuning: the denoiser's weights, or a LoRA on them, learned from what people like and dislike."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusion_base.pipeline import Pipeline
    from diffusion_base.weights.intervention import PublishedWeights


def load_intervention(
    path: str,
    *,
    pipeline: "Pipeline",
    strength: float = 1.0,
    weight_name: str | None = None,
    other_base: bool = False,
) -> "PublishedWeights":
    """The weights that `preference_finetuning:PATH?strength=0.5` on a command line names: what this method's training
    left, or what somebody published. A line on standard error says how much of them is used."""
    import sys

    from diffusion_base.processes import process_state
    from diffusion_base.weights.intervention import PublishedWeights  # torch, only once it is needed

    weights = PublishedWeights(
        path, pipeline=pipeline, strength=strength, weight_name=weight_name, other_base=other_base
    )
    process_state().print(weights, file=sys.stderr)
    return weights
