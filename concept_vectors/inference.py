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
from concept_vectors.vectors import ConceptVectors, as_map, load_vectors, parse_combination
from diffusion_base.errors import UserError
from diffusion_base.identity import tensor_hash
from diffusion_base.intervention import Context, Intervention, Wrapped, check_strengths
from diffusion_base.noising import per_sample_generator
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
    """Give each picture one member of a group, e.g. man or woman.

    A record's "concepts", a list of names, decides where a member's is among them. Else the member is drawn from the
    picture's own seed, so that it is the same whatever is made beside it.

    Args:
        members: what the pictures get.
        proportions: share of pictures for each member; None is equal shares.
        dealt: deal the members out in these proportions instead of drawing them: prompt by prompt, and each prompt's
            pictures in their order, so that the numbers are as even as they can be in all and for each prompt.
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
        names = [member.name for member in members]
        if not names:
            raise UserError("a group needs members, e.g. man and woman")
        shares = [1 / len(names)] * len(names) if proportions is None else list(proportions)
        if len(shares) != len(names) or min(shares) < 0 or not abs(sum(shares) - 1) <= 1e-6:  # NaN is neither
            raise UserError(
                f"the proportions {', '.join(f'{share:g}' for share in shares)} must be {len(names)} numbers, one for "
                f"each of {', '.join(names)}, and sum to 1"
            )
        self.members, self.names, self.proportions = list(members), names, shares
        self.dealt, self.strength = dealt, strength
        self.dealt_out: dict[tuple[str, int], int] = {}  # (prompt, seed) → number of the member

    def begin(self, context: Context) -> None:
        first = {prompt: i for i, prompt in enumerate(dict.fromkeys(context.prompts))}
        pictures = dict.fromkeys(zip(context.prompts, context.seeds, strict=True))
        in_order = sorted(pictures, key=lambda picture: first[picture[0]])
        self.dealt_out = dict(zip(in_order, deal(self.proportions, len(in_order)), strict=True))

    def member(self, prompt: str, seed: int, record: dict) -> int:
        """Which member a picture gets."""
        if named := [name for name in record.get("concepts", ()) if name in self.names]:
            return self.names.index(named[0])
        if self.dealt:
            return self.dealt_out[prompt, seed]
        # by the names, so that what two groups draw for one picture is independent
        generator = per_sample_generator(seed, 0, 0, f"fair group {', '.join(self.names)}")
        draw = torch.rand((), generator=generator).item()
        return sum(draw >= bound for bound in torch.tensor(self.proportions).cumsum(0).tolist()[:-1])

    def hook(self, context: Context, denoiser: torch.nn.Module) -> AbstractContextManager:
        pictures = zip(context.prompts, context.seeds, context.records, strict=True)
        chosen = torch.tensor([self.member(*picture) for picture in pictures], device=context.pipeline.device)

        def addition(hidden: Tensor) -> Tensor:
            each = torch.broadcast_tensors(*(member.at_this_step(context) for member in self.members))
            return on_conditional_rows(context, self.strength * torch.stack(each)[chosen], hidden)

        return added_to_mid_block(denoiser, addition)

    def describe(self) -> dict:
        return {
            "method": "concept_vectors",
            "group": [member.describe() for member in self.members],
            "proportions": self.proportions,
            "dealt": self.dealt,
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


def deal(proportions: Sequence[float], count: int) -> list[int]:
    """Members for pictures in a row: at every moment the number of each is as near its share as it can be."""
    given = [0] * len(proportions)
    dealt = []
    for number in range(1, count + 1):
        owed = [round(share * number - have, 9) for share, have in zip(proportions, given, strict=True)]
        dealt.append(owed.index(max(owed)))
        given[dealt[-1]] += 1
    return dealt
