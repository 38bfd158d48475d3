"""Make the pictures that concept vectors are learned from, in the published layout.

    python -m concept_vectors.create_data --pretrained_model_name_or_path BASE --concepts concepts.yaml \\
        --output_dir datasets/person --num_samples 1000

or choose them among real photographs by their attributes:

    python -m concept_vectors.create_data --concepts faces.yaml --output_dir datasets/faces \\
        --photographs img_align_celeba --attributes list_attr_celeba.txt

An entry of the list is a concept; concept_vectors/sources.py shows all that it may say:

    woman: {prompt: a woman, without: a person}                   # made from prompt, learned under without
    anti_sexual: {prompt: a gorgeous person, negative: sexual}    # learned under the very prompt that invites the harm
    smiling: {attribute: Smiling, without: a face}                # of photographs

An interrupted run goes on where it stopped.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from concept_vectors.sources import Source, having, read_attributes, read_sources
from diffusion_base.arguments import BaseArguments, Count, SamplingArguments, WholeNumber, check_ranges, parse
from diffusion_base.errors import UserError, run
from diffusion_base.files import disk_errors, inside, read_jsonl, write_jsonl, write_text
from diffusion_base.generation import generate_set
from diffusion_base.processes import process_state
from diffusion_base.set_files import FORMATS

AGAIN = "make room, then start it again: it goes on where it stopped"


@dataclass(kw_only=True)
class Arguments:
    base: BaseArguments = field(default_factory=lambda: BaseArguments("CompVis/stable-diffusion-v1-4"))
    concepts: Path
    """YAML list of concepts, with prompts or attributes."""
    output_dir: Path
    """Folder to write."""
    num_samples: Count = 1000
    """Pictures of each entry of the list."""
    seed: WholeNumber = 0
    """Picture N has this seed + N; photographs are drawn by it."""
    sampling: SamplingArguments = field(default_factory=lambda: SamplingArguments(num_inference_steps=30))
    image_format: Literal["png", "jpg"] = "png"
    """jpg is what the first implementation writes; png keeps the pictures as they were made."""
    photographs: Path | None = None
    """Folder of real photographs to choose from instead of making pictures."""
    attributes: Path | None = None
    """Their attributes, in the form of CelebA's list_attr_celeba.txt."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if (self.photographs is None) != (self.attributes is None):
            raise UserError("--photographs and --attributes belong together: give both, or none")


def make_records(sources: Sequence[Source], num_samples: Count, seed: int, suffix: str) -> list[dict]:
    """A record a picture: how it is made, and what it teaches; an entry's prompts take turns."""
    records: list[dict] = []
    for source in sources:
        for i in range(num_samples):
            prompt, without = source.prompts[i % len(source.prompts)]
            number = len(records)
            record: dict[str, Any] = {"file": f"{number}.{suffix}", "prompt": prompt, "seed": seed + number}
            records.append(record | {"negative_prompt": source.negative, "labels": [[without, list(source.concepts)]]})
    return records


def choose_photographs(sources: Sequence[Source], arguments: Arguments) -> list[dict]:
    """A record a photograph, which is there once and names every concept that it shows."""
    assert arguments.attributes is not None and arguments.photographs is not None
    names, has = read_attributes(arguments.attributes)
    showing = {source.name: having(source, names, has) for source in sources}
    chosen: dict[str, None] = {}
    for number, source in enumerate(sources):
        order = np.random.default_rng([arguments.seed, number]).permutation(len(showing[source.name]))
        chosen |= dict.fromkeys(showing[source.name][i] for i in order[: arguments.num_samples])
    sets = {name: set(photos) for name, photos in showing.items()}
    records = []
    for number, photo in enumerate(sorted(chosen)):
        if not inside(arguments.photographs, photo).is_file():
            raise UserError(f"{arguments.photographs / photo}: {arguments.attributes} names it, but it is not there")
        labels: dict[str, list[str]] = {}  # the concepts learned under one prompt are learned as a sum
        for source in sources:
            if photo in sets[source.name]:
                for _, without in source.prompts:
                    known = labels.setdefault(without, [])
                    known += [name for name in source.concepts if name not in known]
        suffix = Path(photo).suffix.lower()
        if suffix not in FORMATS:
            raise UserError(f"{arguments.photographs / photo}: photographs must be {', '.join(FORMATS)}; convert it")
        records.append({"file": f"{number}{suffix}", "photograph": photo, "labels": [list(i) for i in labels.items()]})
    return records


def write_labels(folder: Path, records: Sequence[dict], sources: Sequence[Source]) -> None:
    """labels.json, concept_dict.json and test.json; labels.json last, for it says that all is there."""
    concepts = list(dict.fromkeys(name for source in sources for name in source.concepts))
    contents = {
        "concept_dict.json": {name: number for number, name in enumerate(concepts)},
        "test.json": [sources[0].prompts[0][1], concepts],
        "labels.json": [record["labels"] for record in records],
    }
    with disk_errors(folder, AGAIN):
        for name, content in contents.items():
            write_text(folder / name, json.dumps(content) + "\n")


def main(argv: Sequence[str] | None = None) -> Path:
    """Write the data, and return its folder."""
    arguments = parse(Arguments, argv, prog="concept_vectors/create_data.py", description=__doc__)
    folder, state = arguments.output_dir, process_state()
    sources = read_sources(arguments.concepts, photographs=arguments.photographs is not None)
    if arguments.photographs is not None:
        records = choose_photographs(sources, arguments)
        if state.is_main_process:
            copy_photographs(arguments.photographs, folder, records)
    else:
        records = make_records(sources, arguments.num_samples, arguments.seed, arguments.image_format)
        generate_set(
            arguments.base.load(state.device),
            records,
            folder,
            negative_prompt=[record["negative_prompt"] for record in records],
            **arguments.sampling.options(),
            accelerator=state,
            name=f"pictures of {len(sources)} concepts",
            images_dir=".",
        )
    if state.is_main_process:
        write_labels(folder, records, sources)
        print(f"{len(records)} pictures in {folder}")
    return folder


def copy_photographs(photographs: Path, folder: Path, records: Sequence[dict]) -> None:
    """Copy under their numbers, and write manifest.jsonl, which says where each came from."""
    manifest = folder / "manifest.jsonl"
    if folder.is_dir() and any(folder.iterdir()) and not (manifest.is_file() and read_jsonl(manifest) == records):
        raise UserError(f"--output_dir {folder} holds other data: choose another folder, or delete this one")
    with disk_errors(folder, AGAIN):
        write_jsonl(manifest, records)
        for record in records:
            shutil.copyfile(photographs / record["photograph"], folder / record["file"])


if __name__ == "__main__":
    run(main)
