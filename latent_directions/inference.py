"""Latent directions at sampling time: what a notebook imports.

Source: Lopez Olmos et al., "Latent Directions: A Simple Pathway to Bias Mitigation in Generative AI" (CVPR Workshops
2024).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from diffusion_base.combinations import parse_combination
from diffusion_base.errors import UserError
from diffusion_base.groups import Drawing
from diffusion_base.identity import tensor_hash
from diffusion_base.intervention import Context, Intervention, check_strengths
from diffusion_base.pipeline import Pipeline
from latent_directions.directions import PUBLISHED_FIT, Directions, load_directions, times
from latent_directions.weights import Weights

UNITS = ("vector", "noise")


class LatentDirection(Intervention):
    """Move each picture's initial noise along a direction, or a sum of several: z + strength · weight · d.

    Args:
        directions: a file that `fit.py` wrote, its folder, the authors' `.npy`, or what `load_directions` made of it.
        direction: a class, or a sum such as "female + 0.5*dark".
        pipeline: the base.
        fit: svm, logistic or means.
        step: whose latents it was fitted on; None is the one nearest to a fifth of the sampling, as the authors advise.
        weight: how far, in `units`; below 0 away from the class. Or a weight a subject.
        units: "vector": of d itself, which is 1 long; the authors take about 10. "noise": of ‖z‖, which is about √D for
            D = C·h·w numbers (256 at 4×128×128, 128 at 4×64×64), so .04 there is a weight of 10.
        keep_norm: afterwards give the noise its own length back.
        strength: times the weight; 0 is the base.
        other_base: take directions of another base too, e.g. on a fine-tune of it; the description says so.

    Raises:
        UserError: no directions there; a class, fit or step that is not among them; directions of another base or
            shape; a weight that is not finite; a strength beyond ±100; when used, pictures of another size.
    """

    reads = ()

    def __init__(
        self,
        directions: str | Path | Directions,
        direction: str,
        *,
        pipeline: Pipeline,
        fit: str = PUBLISHED_FIT,
        step: int | None = None,
        weight: float | Weights = 10.0,
        units: str = "vector",
        keep_norm: bool = False,
        strength: float = 1.0,
        other_base: bool = False,
    ):
        check_strengths(strength=strength)
        if units not in UNITS:
            raise UserError(f"units {units!r}: there are no such units; there are {', '.join(UNITS)}")
        if not isinstance(directions, Directions):
            directions = load_directions(directions, pipeline, other_base=other_base)
        self.name, self.strength = direction, strength
        self.vector = directions.combined(parse_combination(direction), fit, step)  # (C, h, w)
        self.weights = weight if isinstance(weight, Weights) else Weights(weight)
        self.units, self.keep_norm, self.warning = units, keep_norm, directions.warning

    def moved(self, prompt: str, noise: Tensor, strength: float = 1.0) -> Tensor:
        """One picture's noise (C, h, w) after the step, whose length is `strength` times the intervention's own."""
        if noise.shape != self.vector.shape:
            raise UserError(
                f"the direction has the shape {times(self.vector.shape)}, and these pictures' noise has "
                f"{times(noise.shape)}: take the base's own picture size"
            )
        length = strength * self.strength * self.weights.of(prompt)
        before = noise.float()
        unit = before.norm() if self.units == "noise" else 1.0
        after = before + length * unit * self.vector.to(noise.device)
        if self.keep_norm:
            after = after * (before.norm() / after.norm())
        return after.to(noise.dtype)

    def edit_latents(self, context: Context, latents: Tensor) -> Tensor:
        return torch.stack([self.moved(*picture) for picture in zip(context.prompts, latents, strict=True)])

    def describe(self) -> dict:
        return {
            "method": "latent_directions",
            "direction": self.name,
            "vector": tensor_hash(self.vector),
            "weight": self.weights.default,
            **({"weights": dict(self.weights.by_subject)} if self.weights.by_subject else {}),
            "units": self.units,
            "keep_norm": self.keep_norm,
            "strength": self.strength,
            **self.warning,
        }


class FairDirections(Intervention):
    """Give each picture one member of a group of directions, e.g. male or female; see `Drawing` for which.

    Args:
        members: what the pictures get.
        proportions, dealt: as in `Drawing`.
        strength: times the members' own.

    Raises:
        UserError: no member; proportions that are not one a member and 1 in sum; a strength beyond ±100.
    """

    reads = ("concepts",)

    def __init__(
        self,
        members: Sequence[LatentDirection],
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

    def edit_latents(self, context: Context, latents: Tensor) -> Tensor:
        given = [self.members[number] for number in self.drawing.members(context)]
        pictures = zip(given, context.prompts, latents, strict=True)
        return torch.stack([member.moved(prompt, noise, self.strength) for member, prompt, noise in pictures])

    def describe(self) -> dict:
        return {
            "method": "latent_directions",
            "group": [member.describe() for member in self.members],
            **self.drawing.describe(),
            "strength": self.strength,
        }
