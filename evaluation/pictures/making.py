"""Prompts × pictures × interventions → sets of pictures, which every other step of the evaluation reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from annotated_types import Le

from diffusion_base.arguments import BaseArguments, Count, SamplingArguments, WholeNumber, check_ranges, to_dict
from diffusion_base.files import write_jsonl
from diffusion_base.generation import generate_set
from diffusion_base.intervention import Intervention
from diffusion_base.pipeline import Pipeline
from diffusion_base.processes import process_state
from evaluation.pictures.methods import Method, method_of
from evaluation.pictures.prompts import SEED_STRIDE, Split, make_records
from evaluation.pictures.training import training_seed


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
    images_per_prompt: Annotated[Count, Le(SEED_STRIDE)] = 50
    """LiVO makes 50."""
    seed: WholeNumber = 42
    """Of the first picture; picture i of prompt p has seed + 1000 p + i."""
    sampling: SamplingArguments = field(default_factory=SamplingArguments)
    negative_prompt: str = ""
    """For all pictures; none by default."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def named_method(self) -> Method:
        return method_of(self.method, self.intervention, self.livo_model)

    def maker(self, method: Method, device: torch.device) -> "Maker":
        """The base on a device, with the method's interventions."""
        pipeline = self.base.load(device)
        return Maker(
            pipeline,
            method,
            method.load(pipeline),
            sampling=self.sampling,
            images_per_prompt=self.images_per_prompt,
            seed=self.seed,
            negative_prompt=self.negative_prompt,
            about={"arguments": to_dict(self)},
        )


@dataclass(frozen=True)
class Maker:
    """A base with a method's interventions, ready to make sets.

    Args:
        method: what figures call it, and the specifications of the interventions where a command line named them.
        about: what run.json repeats besides; it does not decide the pictures. `training_seed` is known by itself
            where the method's specifications name what was trained here.
    """

    pipeline: Pipeline
    method: Method = Method("base")
    interventions: Sequence[Intervention] = ()
    sampling: SamplingArguments = field(default_factory=SamplingArguments)
    images_per_prompt: int = 50
    seed: int = 42
    negative_prompt: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

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
            images_per_prompt=self.images_per_prompt,
            value=value if applied and not self.method.names_value else None,
            value_images=value_images if applied else None,
            seed=self.seed,
            suffix=suffix,
        )
        self.make_pictures(records, folder, twins=twins)
        state = process_state()
        if state.is_main_process:
            write_jsonl(folder / "prompt.jsonl", rows)
        state.wait_for_everyone()  # now all of them may read the prompts too
        return folder

    def make_pictures(self, records: Sequence[dict], folder: Path, *, twins: Sequence[Path] = ()) -> Path:
        """Make a set of which each picture's record is given; see `generate_set`."""
        seed = training_seed(self.method.specs)
        trained = {} if seed is None else {"training_seed": seed}
        return generate_set(
            self.pipeline,
            records,
            folder,
            self.interventions,
            negative_prompt=self.negative_prompt,
            accelerator=process_state(),
            name=folder.name,
            images_dir=".",
            about={"method": self.method.name, **trained, **self.about},
            twins=twins,
            **self.sampling.options(),
        )
