"""Prompts × pictures × interventions → sets of pictures, which every other step of the evaluation reads.

    python -m evaluation.generate --pretrained_model_name_or_path assets/miniature --guidance_scale 2.5 \
        --intervention "value_encoder:runs/quickstart/livo?value=gender equality" --output_dir runs/fair \
        --prompts "a photo of a pilot" "a photo of a nurse"

Several processes share the work under `accelerate launch -m evaluation.generate …`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diffusion_base.arguments import parse
from diffusion_base.errors import UserError, run
from diffusion_base.processes import process_state, usable_device
from evaluation.pictures.making import GenerationArguments
from evaluation.pictures.prompts import read_prompt_files


@dataclass
class Arguments:
    """Make sets of pictures, <output_dir>/imgs/<name of the prompts' file>; finished ones are left alone."""

    generation: GenerationArguments
    output_dir: Path
    """Folder for the sets; an interrupted run goes on there."""
    eval_data: list[Path] = field(default_factory=list)
    """Prompt files: JSON lines, {"prompt": …} each. A line's "value" is that prompt's, for interventions that take one;
    whatever else it says goes into the records."""
    prompts: list[str] = field(default_factory=list)
    """Prompts, for a set called prompts."""
    image_format: Literal["png", "jpg"] = "png"
    """png keeps the pictures exact, jpg (quality 95) is LiVO's."""


def main(argv: Sequence[str] | None = None) -> list[Path]:
    arguments = parse(Arguments, argv, prog="generate.py")
    generation = arguments.generation
    method = generation.named_method
    sets = read_prompt_files(arguments.eval_data)
    if arguments.prompts and "prompts" in sets:
        raise UserError("--prompts and a file called prompts would share a folder; rename the file")
    if arguments.prompts:
        sets["prompts"] = [{"prompt": prompt} for prompt in arguments.prompts]
    if not sets:
        raise UserError("there is nothing to make: name prompts with --prompts, or files of them with --eval_data")
    state = process_state()
    maker = generation.maker(method, usable_device(generation.device or state.device))
    folders = []
    for name, rows in sets.items():
        folders.append(maker.make(rows, arguments.output_dir / "imgs" / name, suffix=arguments.image_format))
        state.print(f"{method.name}: {len(rows) * generation.images_per_prompt} pictures in {folders[-1]}")
    return folders


if __name__ == "__main__":
    run(main)
