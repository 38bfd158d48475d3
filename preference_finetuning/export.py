"""Write weights in the layouts that other programs open, with a model card.

    python -m preference_finetuning.export runs/kto exported/kto
    python -m preference_finetuning.export runs/kto_lora exported/kto_lora --layout kohya

--layout diffusers: a LoRA as pytorch_lora_weights.safetensors, anything else as the folder of a whole denoiser.
--layout kohya: a LoRA as kohya's scripts, WebUI and ComfyUI name it.
--layout single_file: the whole base with the weights merged, one checkpoint file as WebUI and ComfyUI open it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from diffusion_base.arguments import BaseArguments, Strength, parse
from diffusion_base.errors import UserError, run
from diffusion_base.families import family_of
from diffusion_base.files import appearing, disk_errors, write_text
from diffusion_base.weights.intervention import PublishedWeights
from diffusion_base.weights.writing import save_diffusers, save_kohya, save_single_file
from preference_finetuning.model_card import Facts, model_card, upload


@dataclass(kw_only=True)
class Arguments:
    weights: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="WEIGHTS")]
    """A run's folder, one of its checkpoints, or whatever preference_finetuning:PATH opens."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """Folder to write; it must not be there yet."""
    base: BaseArguments = field(default_factory=BaseArguments)
    layout: Literal["diffusers", "kohya", "single_file"] = "diffusers"
    """Who is to open it; see above."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Precision of what is written."""
    strength: Strength = 1.0
    """Of the weights; 1 is as published."""
    weight_name: str | None = None
    """The file in WEIGHTS, where several could be meant."""
    other_base: bool = False
    """Take weights that were trained from another base, such as one that this is a fine-tune of."""
    results: Path | None = None
    """A results.json, whose figures the model card shows with their intervals."""
    push_to_hub: bool = False
    """Upload the folder afterwards, as whoever is logged in (hf auth login)."""
    hub_model_id: str | None = None
    """The repository, owner/name; by default OUT's name, in your own account."""


def main(argv: Sequence[str] | None = None) -> Path:
    """Export, and return the folder."""
    arguments = parse(Arguments, argv, prog="python -m preference_finetuning.export", description=__doc__)
    out, dtype = arguments.out, getattr(torch, arguments.dtype)
    if out.exists():
        raise UserError(f"{out} is there already: choose another OUT, or delete it")
    pipeline = arguments.base.load("cpu")
    weights = PublishedWeights(
        arguments.weights,
        pipeline=pipeline,
        strength=arguments.strength,
        weight_name=arguments.weight_name,
        other_base=arguments.other_base,
    )
    print(weights)
    repository = arguments.hub_model_id or out.name
    with disk_errors(out, "make room, or choose another OUT"), appearing(out) as folder:
        if arguments.layout == "diffusers":
            opened = save_diffusers(weights, pipeline, folder, dtype)
        else:
            save = save_kohya if arguments.layout == "kohya" else save_single_file
            opened = save(weights, pipeline, folder / f"{out.name}.safetensors", dtype)
        facts = Facts(
            base=arguments.base.pretrained_model_name_or_path,
            pipeline_class=type(pipeline).__name__,
            denoiser_class=type(family_of(pipeline).denoiser(pipeline)).__name__,
            where=repository if arguments.push_to_hub else str(out),
            opened=opened.name,
            layout=arguments.layout,
            strength=arguments.strength,
            on_hub=arguments.push_to_hub,
        )
        write_text(folder / "README.md", model_card(Path(arguments.weights), facts, arguments.results))
    print(f"{out}: {opened.name}, README.md")
    if arguments.push_to_hub:
        print(upload(out, repository))
    return out


if __name__ == "__main__":
    run(main)
