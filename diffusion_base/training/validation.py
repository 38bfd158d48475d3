"""Pictures to look at while training: the base's and the aligned ones side by side, from the same seeds."""

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from diffusion_base.generation import generate
from diffusion_base.intervention import Intervention
from diffusion_base.pipeline import Pipeline
from diffusion_base.processes import process_state
from diffusion_base.training.arguments import ValidationArguments
from diffusion_base.training.reference import Reference
from diffusion_base.training.tracking import Validate


def side_by_side(
    pipeline: Pipeline,
    arguments: ValidationArguments,
    shown: Sequence[tuple[str, dict[str, Any]]] | None = None,
    *,
    interventions: Callable[[], Sequence[Intervention]] = tuple,
    reference: Reference | None = None,
    fixed_noise: bool = True,
    base_now: bool = False,
    mixed_precision: Literal["no", "bf16", "fp16"] = "no",
) -> Validate | None:
    """Validation for `train`: the base's pictures on the left, the aligned ones on the right.

    Args:
        shown: prompts, each with its record: what interventions may know of the picture. Pictures are named after both.
            None are the arguments' prompts, without records.
        interventions: what makes the aligned pictures of the state that the training has then; for a method that
            trains the pipeline itself there are none.
        reference: of a method that trains the pipeline itself: makes it the base for the left half.
        fixed_noise: every time from the same seeds; else each time from others.
        base_now: make the base's pictures at once, for a reference that will not stay the base.
        mixed_precision: of `generate`, for a denoiser in float32 whose base is in half precision.

    Returns:
        What makes the pictures, shared among the processes; None where there are none to make.
    """
    if shown is None:
        shown = [(prompt, {}) for prompt in arguments.validation_prompts]
    count = arguments.num_images_per_val_prompt
    if not (shown and count):
        return None
    rows = [(prompt, record, seed) for prompt, record in shown for seed in range(count)]
    prompts, records, own_seeds = (list(column) for column in zip(*rows, strict=True))
    options: dict[str, Any] = {"records": records, "mixed_precision": mixed_precision, **sampling(arguments)}
    base: dict[int, list[Image.Image]] = {}  # by the first seed

    def of_base(seeds: list[int]) -> list[Image.Image]:
        if seeds[0] not in base:  # they don't change
            base.clear()
            with reference() if reference else nullcontext():
                base[seeds[0]] = generate(pipeline, prompts, seeds, **options)
        return base[seeds[0]]

    if base_now:
        of_base(own_seeds)

    def validate(folder: Path, step: int) -> dict[str, list[Image.Image]]:
        seeds = own_seeds if fixed_noise else [seed + step * count for seed in own_seeds]
        lefts, aligned = of_base(seeds), generate(pipeline, prompts, seeds, interventions(), **options)
        pictures: dict[str, list[Image.Image]] = {}
        for prompt, record, left, right in zip(prompts, records, lefts, aligned, strict=True):
            pictures.setdefault(picture_name(*record.values(), prompt), []).append(grid([[left, right]]))
        return pictures

    return validate


def sampling(arguments: ValidationArguments) -> dict[str, Any]:
    """How `generate` makes validation pictures."""
    guidance = arguments.validation_guidance_scale
    return {"guidance_scale": guidance, "accelerator": process_state(), "progress": False}


def picture_name(*words: Any) -> str:
    """A file's name, without its ending, from what a picture is of."""
    return re.sub(r"\W+", "-", " ".join(map(str, words)))[:80]


def grid(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Pictures of one size in rows of one length, without gaps."""
    width, height = rows[0][0].size
    whole = Image.new("RGB", (width * len(rows[0]), height * len(rows)))
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            whole.paste(picture, (x * width, y * height))
    return whole
