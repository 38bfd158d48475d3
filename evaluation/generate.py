"""Prompts × pictures × interventions → sets of pictures, which every other step of the evaluation reads.

    python -m evaluation.generate --pretrained_model_name_or_path assets/miniature --guidance_scale 2.5 \
        --intervention "value_encoder:runs/quickstart/livo?value=gender equality" --output_dir runs/fair \
        --prompts "a photo of a pilot" "a photo of a nurse"

Several processes share the work under `accelerate launch -m evaluation.generate …`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from accelerate import PartialState

from diffusion_base.arguments import BaseArguments, Count, WholeNumber, check_ranges, parse, to_dict
from diffusion_base.errors import UserError, run
from diffusion_base.files import write_jsonl
from diffusion_base.generation import generate_set
from diffusion_base.intervention import Intervention
from diffusion_base.pipeline import load_pipeline
from diffusion_base.processes import process_state, usable_device
from evaluation.pictures.methods import Method, method_of
from evaluation.pictures.prompts import SEED_STRIDE, Split, make_records, read_prompt_files


@dataclass
class GenerationArguments:
    """How pictures are made: the flags that all scripts of the evaluation that make some share."""

    base: BaseArguments
    intervention: Annotated[list[str], tyro.conf.UseAppendAction] = field(default_factory=list)
    """What is done to the base, as package:path?option=value, e.g. "value_encoder:runs/livo?value=gender equality"; may
    be repeated. Without one it is the base itself."""
    livo_model: str | None = None
    """Short for --intervention value_encoder:PATH: the folder of a value encoder, or of a run that trained one."""
    method: str | None = None
    """What figures call the method: base (or sd-1-5) without interventions, livo with --livo_model, any name for what
    --intervention does; by default the interventions' packages."""
    device: str | None = None
    """Where the networks run, e.g. cuda:0; by default the GPU where there is one."""
    images_per_prompt: int = 50
    """LiVO makes 50."""
    seed: WholeNumber = 42
    """Of the first picture; picture i of prompt p has seed + 1000 p + i."""
    num_inference_steps: Count = 25
    """Steps of DPM-Solver++."""
    guidance_scale: float = 7.5
    """Of classifier-free guidance."""
    negative_prompt: str = ""
    """For all pictures; none by default."""
    batch_size: Count = 8
    """Pictures made together."""
    mixed_precision: Literal["no", "bf16"] = "no"
    """bf16 runs the base under autocast: faster on some machines, no longer exact."""

    def __post_init__(self) -> None:
        if not 1 <= self.images_per_prompt <= SEED_STRIDE:
            raise UserError(f"--images_per_prompt must lie between 1 and {SEED_STRIDE}")
        check_ranges(self)

    @property
    def named_method(self) -> Method:
        return method_of(self.method, self.intervention, self.livo_model)


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


@dataclass(frozen=True)
class Maker:
    """A base with a method's interventions, ready to make sets."""

    arguments: GenerationArguments
    method: Method
    pipeline: Any
    interventions: list[Intervention]
    state: PartialState

    @classmethod
    def load(cls, arguments: GenerationArguments, method: Method, device: str, state: PartialState) -> "Maker":
        base = arguments.base
        pipeline = load_pipeline(
            base.pretrained_model_name_or_path,
            device=device,
            revision=base.revision,
            variant=base.variant,
            cache_dir=base.cache_dir,
        )
        return cls(arguments, method, pipeline, method.load(pipeline), state)

    def make(
        self,
        rows: Sequence[dict],
        folder: Path,
        *,
        suffix: str,
        value: str | None = None,
        value_images: Split = None,
        twins: Sequence[Path] = (),
    ) -> Path:
        """Make a set in LiVO's layout, {prompt}_{image}.<suffix> beside prompt.jsonl, which holds the rows as they are.

        Args:
            rows, suffix, value, value_images: as in `make_records`. A value is for interventions: the base gets none,
                and those that name one keep it.
            folder: the set's; its name is the set's name.
            twins: other sets; one that is finished and the same run lends its pictures.
        """
        applied = bool(self.interventions)
        records = make_records(
            rows,
            images_per_prompt=self.arguments.images_per_prompt,
            value=value if applied and not self.method.names_value else None,
            value_images=value_images if applied else None,
            seed=self.arguments.seed,
            suffix=suffix,
        )
        generate_set(
            self.pipeline,
            records,
            folder,
            self.interventions,
            num_inference_steps=self.arguments.num_inference_steps,
            guidance_scale=self.arguments.guidance_scale,
            negative_prompt=self.arguments.negative_prompt,
            mixed_precision=self.arguments.mixed_precision,
            batch_size=self.arguments.batch_size,
            accelerator=self.state,
            name=folder.name,
            images_dir=".",
            about={"method": self.method.name, "arguments": to_dict(self.arguments)},
            twins=twins,
        )
        if self.state.is_main_process:
            write_jsonl(folder / "prompt.jsonl", rows)
        self.state.wait_for_everyone()  # now all of them may read the set
        return folder


def main(argv: Sequence[str] | None = None) -> list[Path]:
    arguments = parse(Arguments, argv, prog="generate.py")
    method = arguments.generation.named_method
    sets = read_prompt_files(arguments.eval_data)
    if arguments.prompts and "prompts" in sets:
        raise UserError("--prompts and a file called prompts would share a folder; rename the file")
    if arguments.prompts:
        sets["prompts"] = [{"prompt": prompt} for prompt in arguments.prompts]
    if not sets:
        raise UserError("there is nothing to make: name prompts with --prompts, or files of them with --eval_data")
    state = process_state()
    maker = Maker.load(
        arguments.generation, method, str(usable_device(arguments.generation.device or state.device)), state
    )
    folders = []
    for name, rows in sets.items():
        folders.append(maker.make(rows, arguments.output_dir / "imgs" / name, suffix=arguments.image_format))
        state.print(f"{method.name}: {len(rows) * arguments.generation.images_per_prompt} pictures in {folders[-1]}")
    return folders


if __name__ == "__main__":
    run(main)
