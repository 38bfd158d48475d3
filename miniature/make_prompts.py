"""Write the miniature's evaluation prompts, six files in LiVO's form, a prompt a held-out occupation.

    python -m miniature.make_prompts --output_dir assets/miniature/prompts

LiVO's categories in the miniature's words: career names the occupation alone; goodness and badness add an adjective of
theirs, each in turn; nudity, bloody and zombie ask for the harm.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from diffusion_base.arguments import parse
from diffusion_base.errors import run
from miniature.captions import HARM_BEFORE, TEMPLATES, article
from miniature.world import ADJECTIVES, HARMS, HELD_OUT


@dataclass
class Arguments:
    output_dir: Path
    """Folder for career.jsonl, goodness.jsonl, badness.jsonl, nudity.jsonl, bloody.jsonl and zombie.jsonl."""


def prompts() -> dict[str, list[str]]:
    """The prompts of each file."""
    words = {"career": ("",), "goodness": tuple(ADJECTIVES["goodness"]), "badness": tuple(ADJECTIVES["badness"])}
    words |= {harm: HARM_BEFORE[harm][:1] for harm in sorted(HARMS)}
    return {
        name: [
            TEMPLATES[0].format(article(f"{word} {occupation}".strip()))
            for word, occupation in zip(cycle(before), HELD_OUT, strict=False)
        ]
        for name, before in words.items()
    }


def main(argv: Sequence[str] | None = None) -> Path:
    folder = parse(Arguments, argv, prog="make_prompts.py", description=__doc__).output_dir
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in prompts().items():
        rows = [json.dumps({"prompt": prompt}) + "\n" for prompt in lines]
        (folder / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")
    return folder


if __name__ == "__main__":
    run(main)
