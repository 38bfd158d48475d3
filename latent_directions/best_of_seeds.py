"""The best of several noises by a judge who looks at quick previews: no training, and what a direction has to beat."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from diffusion_base.errors import UserError
from diffusion_base.families import own_size
from diffusion_base.generation import generate
from diffusion_base.groups import Drawing
from diffusion_base.intervention import Context, Intervention, check_strengths
from diffusion_base.noising import per_sample_generator
from scorers.protocols import AttributeScorer, Judge, PreferenceScorer, ToxicityScorer


class BestOfSeeds(Intervention):
    """Of n noises that belong to a picture's seed take the one whose preview a judge likes best.

    The first of them is the picture's own. Previews are the base's pictures of the plain prompt in a few steps, with
    the weights that other interventions have put in; what these do at other doors, previews lack.

    Args:
        judge: who is asked.
        n: noises for each picture.
        group: choices of which each picture is to show one, e.g. ("male", "female"); which, see `Drawing`.
        harm: a kind of harm that no picture is to show. Without group and harm the judge says what people prefer.
        preview_steps: of sampling, for each preview.
        proportions, dealt: of the group, as in `Drawing`.
        strength: of a picture's own noise (0) and the best one (1), what is taken: between them an arc.

    Attributes:
        unet_calls: what previews took since the set was begun, a call being one step of one picture. A picture takes
            n · preview_steps of them, beside its own steps.

    Raises:
        UserError: no noise to choose from, or both a group and a harm; when used, a judge that can't say.
    """

    reads = ("concepts",)

    def __init__(
        self,
        judge: Judge,
        n: int,
        *,
        group: Sequence[str] = (),
        harm: str | None = None,
        preview_steps: int = 4,
        proportions: Sequence[float] | None = None,
        dealt: bool = False,
        strength: float = 1.0,
    ):
        check_strengths(strength=strength)
        if n < 1 or preview_steps < 1:
            raise UserError(f"best of {n} with {preview_steps} preview steps: both must be 1 or more")
        if group and harm is not None:
            raise UserError("give a group or a harm to keep out, not both")
        self.judge, self.n, self.harm, self.preview_steps = judge, n, harm, preview_steps
        self.drawing = Drawing(group, proportions=proportions, dealt=dealt) if group else None
        self.strength = strength
        self.unet_calls = 0

    def begin(self, context: Context) -> None:
        self.unet_calls = 0
        if self.drawing is not None:
            self.drawing.begin(context)
        height, width = own_size(context.pipeline)
        grey = Image.new("RGB", (width, height), "grey")
        self.scores([grey], context.prompts[:1] or [""], [0])  # a judge that can't say is refused here

    def scores(self, images: Sequence[Image.Image], prompts: Sequence[str], members: Sequence[int]) -> Tensor:
        """How much each picture is liked, (n,), those of a group for their own member."""
        judge = self.judge
        if self.drawing is not None:
            if not isinstance(judge, AttributeScorer):
                raise UserError(f"{judge.name} cannot say which of {', '.join(self.drawing.names)} a picture shows")
            shown = judge.classify(images, prompts, self.drawing.names)  # (n, k)
            return shown[torch.arange(len(images)), torch.tensor(members)]
        if self.harm is not None:
            if not isinstance(judge, ToxicityScorer):
                raise UserError(f"{judge.name} gives no scores for harms such as {self.harm}; take another judge")
            return -judge.toxicity(images, self.harm)
        if not isinstance(judge, PreferenceScorer):
            raise UserError(f"{judge.name} does not say which pictures people prefer; name a group or a harm")
        return judge.preference(images, prompts)

    def edit_latents(self, context: Context, latents: Tensor) -> Tensor:
        members = [0] * len(latents) if self.drawing is None else self.drawing.members(context)
        rounds = [latents, *(self.other_noise(context, latents, number) for number in range(1, self.n))]
        liked = [self.scores(self.previews(context, noise), context.prompts, members) for noise in rounds]
        best = torch.stack(liked).argmax(0)  # (B,); of equals the first
        taken = torch.stack([rounds[number][i] for i, number in enumerate(best.tolist())])
        return taken if self.strength == 1 else on_an_arc(latents, taken, self.strength)

    def other_noise(self, context: Context, latents: Tensor, number: int) -> Tensor:
        """The pictures' noises of a number (B, C, h, w); each is a function of its seed and that number."""
        noises = [
            torch.randn(latents.shape[1:], generator=per_sample_generator(seed, number, 0, "best of seeds"))
            for seed in context.seeds
        ]
        return torch.stack(noises).to(latents)

    def previews(self, context: Context, noise: Tensor) -> list[Image.Image]:
        pipeline, scale = context.pipeline, context.pipeline.vae_scale_factor
        options: dict[str, Any] = {"negative_prompt": context.negative_prompts, "batch_size": len(noise)}
        images = generate(
            pipeline,
            context.prompts,
            context.seeds,
            [_From(noise)],
            num_inference_steps=self.preview_steps,
            guidance_scale=context.guidance_scale,
            mixed_precision=context.mixed_precision,
            height=noise.shape[2] * scale,
            width=noise.shape[3] * scale,
            progress=False,
            **options,
        )
        self.unet_calls += len(noise) * pipeline.num_timesteps
        return images

    def describe(self) -> dict:
        return {
            "method": "best_of_seeds",
            "judge": [self.judge.name, self.judge.version],
            "n": self.n,
            "preview_steps": self.preview_steps,
            "harm": self.harm,
            **({} if self.drawing is None else {"group": self.drawing.names, **self.drawing.describe()}),
            "strength": self.strength,
        }


class _From(Intervention):
    """Pictures from a given noise."""

    def __init__(self, noise: Tensor):
        self.noise = noise

    def edit_latents(self, context: Context, latents: Tensor) -> Tensor:
        return self.noise

    def describe(self) -> dict:
        return {}


def on_an_arc(one: Tensor, other: Tensor, share: float) -> Tensor:
    """cos(φ) · one + sin(φ) · other with φ = share · 90°, (B, C, h, w): unit noises stay unit noises."""
    angle = torch.tensor(share * torch.pi / 2)
    mixed = angle.cos() * one + angle.sin() * other
    same = (one == other).flatten(1).all(1)[:, None, None, None]
    return torch.where(same, one, mixed)
