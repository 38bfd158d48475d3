"""Make pictures of two or more classes and keep their latents at chosen steps.

    python -m latent_directions.collect --pretrained_model_name_or_path BASE --output_dir datasets/gender \\
        --prompts "male=a photo of a man" "female=a photo of a woman" --num_samples 50

or, over many subjects, `--classes classes.yaml`; latent_directions/classes.py shows what it may say. Picture i of every
class has the same seed, so it starts from the same noise. An interrupted run goes on where it stopped.

    OUT/images/male_0.png …      OUT/manifest.jsonl      a line a picture: file, prompt, seed, class, subject
    OUT/latents/….safetensors    a tensor a picture, (steps, C, h, w) in half precision, divided by the VAE's scale
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from safetensors.torch import save_file
from torch import Tensor

from diffusion_base.arguments import BaseArguments, Count, SamplingArguments, WholeNumber, check_ranges, parse
from diffusion_base.errors import UserError, run
from diffusion_base.families import family_of
from diffusion_base.files import disk_errors, replacing
from diffusion_base.generation import generate_set
from diffusion_base.intervention import Context, Intervention
from diffusion_base.processes import process_state
from latent_directions.classes import Class, prompt_classes, read_classes
from latent_directions.dataset import LATENTS, NOISE, shard_contents

BYTES = 2  # of a number in half precision


@dataclass(kw_only=True)
class Arguments:
    base: BaseArguments = field(default_factory=lambda: BaseArguments("stabilityai/stable-diffusion-xl-base-1.0"))
    output_dir: Path
    """Folder to write."""
    prompts: tuple[str, ...] = ()
    """A class and its prompt, "male=a photo of a man", two or more; prompts of one class take turns."""
    classes: Path | None = None
    """YAML file of classes, templates and subjects, in the place of --prompts."""
    num_samples: Count = 50
    """Pictures of each class."""
    seed: WholeNumber = 0
    """Picture N of each class has this seed + N."""
    steps: Annotated[tuple[Annotated[int, Ge(0)], ...], "of sampling"] = ()
    """Keep the latents that these steps leave, the first being 0; by default ten steps, evenly spaced from 0 on."""
    keep_noise: bool = False
    """Keep the latents before the first step too, which are the noise itself."""
    sampling: SamplingArguments = field(default_factory=lambda: SamplingArguments(num_inference_steps=50))
    image_format: Literal["png", "jpg"] = "png"
    """Of the pictures."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if bool(self.prompts) == (self.classes is not None):
            raise UserError("give either --prompts, a class and its prompt each, or --classes, a YAML file of them")
        if beyond := [step for step in self.steps if step >= self.sampling.num_inference_steps]:
            last = self.sampling.num_inference_steps - 1
            raise UserError(f"--steps {beyond[0]}: there is no such step; the last is {last}")

    @property
    def kept(self) -> list[int]:
        count = self.sampling.num_inference_steps
        steps = sorted(set(self.steps)) or list(range(0, count, -(-count // 10)))
        return [NOISE, *steps] if self.keep_noise else steps


class LatentRecorder(Intervention):
    """Leaves the pictures as they are, and writes their latents at some steps: a shard for those made together.

    Args:
        folder: of the shards.
        steps: whose latents are kept, in rising order; NOISE is before the first.
        scale: that they are divided by, the VAE's scaling factor.
    """

    reads = ()

    def __init__(self, folder: Path, steps: Sequence[int], scale: float):
        self.folder, self.steps, self.scale = folder, list(steps), scale
        self.kept: list[Tensor] = []

    def edit_latents(self, context: Context, latents: Tensor) -> Tensor:
        self.kept = []
        self.keep(context, NOISE, latents)
        return latents

    def end_of_step(self, context: Context, latents: Tensor) -> Tensor:
        self.keep(context, context.step, latents)
        return latents

    def keep(self, context: Context, step: int, latents: Tensor) -> None:
        if step not in self.steps:
            return
        self.kept.append((latents.float() / self.scale).to("cpu", torch.float16))
        if step == self.steps[-1]:
            stems = [Path(record["file"]).stem for record in context.records]
            with torch.autocast("cpu", enabled=False):  # which knows no float16 there
                pictures = torch.stack(self.kept, dim=1)  # (B, steps, C, h, w)
            tensors = {stem: latents.contiguous() for stem, latents in zip(stems, pictures, strict=True)}
            file, about = self.folder / f"{stems[0]}.safetensors", {"steps": self.steps, "scale": self.scale}
            with disk_errors(file, "make room, then start it again: it goes on"), replacing(file) as partial:
                save_file(tensors, partial, metadata={LATENTS: json.dumps(about)})

    def describe(self) -> dict:
        return {"method": "latent_directions.collect", "steps": self.steps}


def make_records(classes: Sequence[Class], num_samples: int, seed: int, suffix: str) -> list[dict]:
    """A record a picture: every class has the same seeds, and its prompts take turns."""
    records = []
    for one in classes:
        for i in range(num_samples):
            prompt, subject = one.prompts[i % len(one.prompts)]
            record = {"file": f"{one.name}_{i}.{suffix}", "prompt": prompt, "seed": seed + i}
            records.append(record | {"class": one.name, "subject": subject})
    return records


def disk_needed(pictures: int, steps: int, shape: Sequence[int]) -> int:
    """Bytes of the latents; the pictures' own come on top."""
    c, h, w = shape
    return pictures * steps * c * h * w * BYTES


def in_words(octets: int) -> str:
    """1.3 GB, 65 MB, …"""
    unit, name = next((10**power, name) for power, name in ((9, "GB"), (6, "MB"), (3, "kB")) if octets >= 10**power)
    return f"{octets / unit:.1f} {name}" if octets < 10 * unit else f"{octets / unit:.0f} {name}"


def main(argv: Sequence[str] | None = None) -> Path:
    """Collect, and return the folder."""
    arguments = parse(Arguments, argv, prog="latent_directions/collect.py", description=__doc__)
    state, folder, steps = process_state(), arguments.output_dir, arguments.kept
    classes = read_classes(arguments.classes) if arguments.classes else prompt_classes(arguments.prompts)
    records = make_records(classes, arguments.num_samples, arguments.seed, arguments.image_format)
    pipeline = arguments.base.load(state.device)
    shape = family_of(pipeline).latent_shape(pipeline)
    if state.is_main_process:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        octets = disk_needed(len(records), len(steps), shape)
        print(
            f"{len(records)} pictures × {len(steps)} steps × {'×'.join(map(str, shape))}: {in_words(octets)} of "
            f"latents in {folder}, where {in_words(shutil.disk_usage(folder).free)} are free"
        )
    recorder = LatentRecorder(folder / LATENTS, steps, pipeline.vae.config.scaling_factor)
    make = partial(
        generate_set,
        pipeline,
        records,
        folder,
        [recorder],
        accelerator=state,
        name=f"pictures of {', '.join(one.name for one in classes)}",
        **arguments.sampling.options(),
    )
    make()
    kept = shard_contents(folder).keys()
    lost = [record["file"] for record in records if Path(record["file"]).stem not in kept]
    state.wait_for_everyone()  # now all of them know
    if lost:  # a shard was deleted or damaged: its pictures are made again, and its latents with them
        for file in lost if state.is_main_process else ():
            (folder / "images" / file).unlink()
        state.wait_for_everyone()
        make()
    if state.is_main_process:
        print(f"{len(records)} pictures and their latents in {folder}")
    return folder


if __name__ == "__main__":
    run(main)
