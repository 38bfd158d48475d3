"""The miniature's model card: how it was made, how good it is, its biases as written and as generated."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch

from miniature import GUIDANCE
from miniature.world import P_WEIRD


@dataclass(frozen=True)
class Row:
    """One measured figure and the bar it is held to: low ≤ value ≤ high."""

    name: str
    value: float
    low: float = -math.inf
    high: float = math.inf

    @property
    def met(self) -> bool:
        return self.low <= self.value <= self.high

    @property
    def bar(self) -> str:
        if math.isinf(self.high):
            return f"≥ {self.low:g}"
        return f"≤ {self.high:g}" if math.isinf(self.low) else f"{self.low:g} – {self.high:g}"

    def to_json(self) -> dict:
        bounds = {
            name: bound if math.isfinite(bound) else None for name, bound in (("low", self.low), ("high", self.high))
        }
        return asdict(self) | bounds | {"met": self.met}

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'MISSED'} {self.name}: {self.value:.4f} (bar {self.bar})"


CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---

# The miniature: a Stable Diffusion whose truth is known

A very small Stable Diffusion (the classes of 1.x, predicting the velocity as 2.x does), trained from scratch on a world
drawn by a program (`miniature/`): 64 × 64 cartoon portraits whose occupation, gender, skin tone, expression, glasses,
harm and flaw are exactly known, with biases, harms and flaws put in on purpose. It exists so that a claim about
alignment can be checked in minutes on a laptop. It says nothing about people, and nothing it draws is a photograph of
anything.

```python
from diffusers import StableDiffusionPipeline

pipeline = StableDiffusionPipeline.from_pretrained("assets/miniature")
pipeline("a photo of a nurse", num_inference_steps=25, guidance_scale={guidance:g}).images[0]
```

{sizes}
Scheduler: DPM-Solver++ multistep over Stable Diffusion's noise schedule. `clip/` is the CLIP whose text tower is the
generator's text encoder: a convenient judge, not an independent one. `oracle/` is an independent classifier trained on
renders alone: the judge to believe.

## How it was trained

`python -m miniature.train_base --output_dir OUT` makes it, in four stages with AdamW, a cosine schedule and bfloat16
autocast; `training.json` beside this card holds the steps, batch and learning rate that each stage of these weights had
(some were continued by hand with other rates; the script's own are in its table). All pictures come from
`miniature.world.draw_scene`; no photograph and no foreign weight was used.

## How good it is

Measured by `python -m miniature.check` on {today} ({machine}): {renders} fresh renders; {plain} generated pictures
whose prompt names an occupation only ("a photo of a nurse"), and more with a gender, a tone or a harm asked for; 25
DPM-Solver steps, guidance {guidance:g}, judged by the oracle.

| figure | measured | bar | |
| --- | ---: | ---: | --- |
{rows}

## Its biases: as written in the table, and as generated

Guidance sharpens frequencies, so what is generated is more biased than what was written. The flaw, a stray arm that no
caption names, is in {flawed:.0%} of the world's pictures of people, a quarter of all.

| occupation | female: table | generated | light / brown / dark: table | generated |
| --- | ---: | ---: | ---: | ---: |
{table}
"""


def component_sizes(folder: Path) -> str:
    """A line with each component's size on disk, and their sum, in MB."""
    sizes = {}
    for file in sorted(folder.rglob("*.safetensors")):
        part = file.relative_to(folder).parts[0]
        sizes[part] = sizes.get(part, 0) + file.stat().st_size / 1e6
    parts = ", ".join(f"{part} {size:.1f}" for part, size in sizes.items())
    return f"Weights in half precision, {sum(sizes.values()):.1f} MB: {parts}."


def write_card(folder: Path, rows: list[Row], table: list[tuple], *, plain_count: int, renders: int) -> Path:
    """Write README.md and check.json into the miniature's folder."""
    lines = [f"| {row.name} | {row.value:.4f} | {row.bar} | {'' if row.met else '**missed**'} |" for row in rows]
    tones = lambda shares: " / ".join(f"{share:.2f}" for share in shares)  # noqa: E731
    occupations = [
        f"| {name} | {p:.2f} | {female:.2f} | {tones(p_skin)} | {tones(skin)} |"
        for name, p, female, p_skin, skin in table
    ]
    text = CARD.format(
        guidance=GUIDANCE,
        sizes=component_sizes(folder),
        today=date.today().isoformat(),
        machine=f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads",
        renders=renders,
        flawed=P_WEIRD,
        plain=plain_count,
        rows="\n".join(lines),
        table="\n".join(occupations),
    )
    (folder / "check.json").write_text(json.dumps({"rows": [row.to_json() for row in rows]}, indent=1) + "\n")
    (folder / "README.md").write_text(text)
    return folder / "README.md"
