"""Concept vectors at sampling time: what a notebook imports.

Source: Li et al., "Self-Discovering Interpretable Diffusion Latent Directions for Responsible Text-to-Image
Generation" (CVPR 2024).
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from concept_vectors.bottleneck import Schedule, added_to_mid_block, on_conditional_rows, progress
from concept_vectors.vectors import ConceptVectors, as_map, load_vectors
from diffusion_base.combinations import parse_combination
from diffusion_base.groups import Drawing
from diffusion_base.identity import tensor_hash
from diffusion_base.intervention import Context, Intervention, Wrapped, check_strengths
from diffusion_base.pipeline import Pipeline


class ConceptVector(Intervention):
    """Add a vector, or a weighted sum of vectors, to the mid block's output: h + strength · c.

    Args:
        vectors: a file of concept vectors, the folder of a run or checkpoint that holds one, or what `load_vectors`
            made of it.
        concept: a concept's name, or a sum such as "0.7*woman + 1.0*anti_bloody".
        pipeline: the base.
        strength: 0 is the base, 1 the concept as learned; between is interpolation, below 0 the opposite.
        schedule: how the strength changes over the steps; None is constant.
        other_base: take vectors of another base too, e.g. on a fine-tune of it; the description says so.

    Raises:
        UserError: no vectors there; a concept that is not among them; vectors of another base or shape; a strength
            beyond ±100.
    """

    def __init__(
        self,
        vectors: str | Path | ConceptVectors,
        concept: str,
        *,
        pipeline: Pipeline,
        strength: float = 1.0,
        schedule: Schedule | None = None,
        other_base: bool = False,
    ):
        check_strengths(strength=strength)
        if not isinstance(vectors, ConceptVectors):
            vectors = load_vectors(vectors, pipeline, other_base=other_base)
        self.name, self.strength, self.schedule = concept, strength, schedule or Schedule()
        self.vector = as_map(vectors.combined(parse_combination(concept)))  # (C, h, w) or (C, 1, 1)
        self.warning = vectors.warning

    def at_this_step(self, context: Context) -> Tensor:
        """What is added now, (C, h, w) or (C, 1, 1)."""
        self.vector = self.vector.to(context.pipeline.device)
        return self.strength * self.schedule(progress(context)) * self.vector

    def hook(self, context: Context, denoiser: torch.nn.Module) -> AbstractContextManager:
        def addition(hidden: Tensor) -> Tensor:
            vectors = self.at_this_step(context).expand(len(context.prompts), -1, -1, -1)
            return on_conditional_rows(context, vectors, hidden)

        return added_to_mid_block(denoiser, addition)

    def describe(self) -> dict:
        return {
            "method": "concept_vectors",
            "concept": self.name,
            "vector": tensor_hash(self.vector),
            "strength": self.strength,
            "schedule": asdict(self.schedule),
            **self.warning,
        }


class FairGroup(Intervention):
    """Give each picture one member of a group, e.g. man or woman; see `Drawing` for which.

    Args:
        members: what the pictures get.
        proportions, dealt: as in `Drawing`.
        strength: times the members' own.

    Raises:
        UserError: no member; proportions that are not one a member and 1 in sum; a strength beyond ±100.
    """

    def __init__(
        self,
        members: Sequence[ConceptVector],
        *,
        proportions: Sequence[float] | None = None,
        dealt: bool = False,
        strength: float = 1.0,
    ):
        check_strengths(strength=strength)
        self.drawing = Drawing([member.name for member in members], proportions=proportions, dealt=dealt)
        self.members, self.strength = list(members), strength

    def begin(self, context: Context) -> None:
        self.drawing.begin(context)

    def hook(self, context: Context, denoiser: torch.nn.Module) -> AbstractContextManager:
        chosen = torch.tensor(self.drawing.members(context), device=context.pipeline.device)

        def addition(hidden: Tensor) -> Tensor:
            each = torch.broadcast_tensors(*(member.at_this_step(context) for member in self.members))
            return on_conditional_rows(context, self.strength * torch.stack(each)[chosen], hidden)

        return added_to_mid_block(denoiser, addition)

    def describe(self) -> dict:
        return {
            "method": "concept_vectors",
            "group": [member.describe() for member in self.members],
            **self.drawing.describe(),
            "strength": self.strength,
        }


class TwoTrajectories(Wrapped):
    """At every step the mean of two trajectories: with an intervention in the bottleneck, and without it.

    A scheduler's step that doesn't clip is affine in the prediction, so the mean of the two x_t is one step with the
    mean of the two predictions. The denoiser runs twice. What the intervention does at other doors, both have.
    """

    @contextmanager
    def hook(self, context: Context, denoiser: torch.nn.Module) -> Iterator[None]:
        def average(_module, inputs: tuple, options: dict, without: tuple[Tensor]) -> tuple[Tensor]:
            with self.inner.hook(context, denoiser):
                with_it = denoiser.forward(*inputs, **options)[0]  # past this hook, through those of the blocks
            return (torch.lerp(without[0], with_it.to(without[0].dtype), 0.5),)

        handle = denoiser.register_forward_hook(average, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def describe(self) -> dict:
        return self.inner.describe() | {"two_trajectories": True}
