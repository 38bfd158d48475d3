"""Pictures to look at while training: base and aligned side by side, from the same seeds."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import CLIPTextModel

from diffusion_base.generation import generate
from diffusion_base.processes import process_state
from value_encoder.inference import ValueToken


def side_by_side(
    pipeline, encoder: CLIPTextModel, examples: list[tuple[str, str]], count: int, guidance_scale: float
) -> Callable[[Path, int], dict[str, list[Image.Image]]]:
    """Validation: for each (value, prompt) `count` pictures, the base's on the left, the aligned on the right."""
    rows = [(value, prompt, seed) for value, prompt in examples for seed in range(count)]
    values, prompts, seeds = (list(column) for column in zip(*rows, strict=True))
    options: dict[str, Any] = {
        "records": [{"value": value} for value in values],
        "guidance_scale": guidance_scale,
        "accelerator": process_state(),
        "progress": False,
    }
    base: list[Image.Image] = []

    def validate(folder: Path, step: int) -> dict[str, list[Image.Image]]:
        if not base:  # it doesn't change
            base.extend(generate(pipeline, prompts, seeds, **options))
        token = ValueToken(encoder, pipeline=pipeline)
        pictures: dict[str, list[Image.Image]] = {}
        aligned = generate(pipeline, prompts, seeds, [token], **options)
        for (value, prompt, _), left, right in zip(rows, base, aligned, strict=True):
            both = Image.new("RGB", (left.width + right.width, left.height))
            both.paste(left, (0, 0))
            both.paste(right, (left.width, 0))
            pictures.setdefault(re.sub(r"\W+", "-", f"{value} {prompt}")[:80], []).append(both)
        return pictures

    return validate
