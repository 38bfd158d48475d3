"""Prompts × seeds × interventions → pictures: the one way to make images.

Picture i starts from the noise of ITS seed, drawn on the CPU, whatever the method, batch size, device or number of
processes. Arithmetic differs by about 1e-6 between batch sizes, so pictures are cut into fixed chunks by their index
and processes take whole chunks: one process and many write the same bytes.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object
from PIL import Image
from tqdm import tqdm

from diffusion_base.files import write_json, write_text
from diffusion_base.intervention import Intervention
from diffusion_base.pipeline import Pipeline
from diffusion_base.sampling import Sampler
from diffusion_base.set_files import check_folder, copy_picture, fields_read, image_files, is_twin, opens, save_picture


def generate(
    pipeline: Pipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    interventions: Sequence[Intervention] = (),
    *,
    num_inference_steps: int = 25,
    guidance_scale: float = 7.5,
    negative_prompt: str | Sequence[str] = "",
    height: int | None = None,
    width: int | None = None,
    batch_size: int = 8,
    mixed_precision: Literal["no", "bf16", "fp16"] = "no",
    records: Sequence[dict] | None = None,
    accelerator: Accelerator | PartialState | None = None,
    progress: bool = True,
) -> list[Image.Image]:
    """Make one picture a prompt.

    Without interventions these are, bit for bit in float32, the pictures of
    `pipeline(prompts, generator=[torch.Generator().manual_seed(seed) for seed in seeds])` on the same batch.

    Args:
        pipeline: the base, from `load_pipeline`.
        prompts, seeds: one a picture.
        interventions: applied in the order of the doors (weights, the prompt's words, its embeddings, noise,
            bottleneck, end of step), and in the order of this list within a door. An empty list is the base, and so is
            any at strength 0.
        num_inference_steps, guidance_scale: as in diffusers; no guidance at a scale of 1 or less.
        negative_prompt: for all pictures, or one a picture. "" is none.
        height, width: pixels; None is the size the base was trained at.
        batch_size: pictures made together.
        mixed_precision: "bf16" (or, on a GPU, "fp16") runs the networks under autocast: faster on some machines, no
            longer exact.
        records: what interventions may know of each picture, e.g. {"value": …}.
        accelerator: where several processes share the work, this process's Accelerator or PartialState; all of them
            call this alike, and all get all pictures.
        progress: show a bar.

    Returns:
        RGB pictures in the order of the prompts.

    Raises:
        UserError: lists of unequal length; interventions that don't fit together, or can't make one of the pictures;
            a strength beyond ±100; a guidance that is not finite, or with which no picture comes of it.
    """
    sampler = Sampler(
        pipeline,
        prompts,
        seeds,
        interventions,
        records,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        negative_prompt=negative_prompt,
        height=height,
        width=width,
        mixed_precision=mixed_precision,
    )
    sampler.begin()
    chunks = _chunks(len(prompts), batch_size)
    process, processes = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    mine = range(process, len(chunks), processes)
    made: list[tuple[int, list[Image.Image]]] = []
    with sampler.weights_swapped(), tqdm(total=len(prompts), unit="image", disable=not progress or process > 0) as bar:
        for chunk in mine:
            made.append((chunk, sampler.sample(chunks[chunk])))
            bar.update(min(processes * len(chunks[chunk]), len(prompts) - bar.n))
    if processes > 1:
        made = gather_object(made)
    return list(chain.from_iterable(images for _, images in sorted(dict(made).items())))


def generate_set(
    pipeline: Pipeline,
    records: Sequence[dict],
    output_dir: str | Path,
    interventions: Sequence[Intervention] = (),
    *,
    batch_size: int = 8,
    accelerator: Accelerator | PartialState | None = None,
    name: str | None = None,
    images_dir: str = "images",
    about: Mapping[str, Any] | None = None,
    twins: Sequence[Path] = (),
    progress: bool = True,
    **sampling: Any,
) -> Path:
    """Make a set of pictures on disk: `run.json` at the start, `images/`, and `manifest.jsonl` once it is complete.

    Called again on the same folder it goes on: pictures that open are kept, missing and broken ones are made again. A
    chunk is always made whole, as the first time, so its pictures come out the same. An error in one of several
    processes does not reach the others: they wait until the launcher ends them.

    Args:
        records: one dict a picture: "file" (its name in the images' folder; .png, .jpg), "prompt", "seed", and what
            the evaluation or the interventions need. The manifest repeats them.
        output_dir: the set's folder.
        accelerator: where several processes share the work, this process's Accelerator or PartialState.
        name: of the set, for the progress bar and `run.json`.
        images_dir: the images' folder in the set's; "." puts them beside the manifest, as LiVO's layout has them.
        about: what else `run.json` shall say, JSON, e.g. the command's arguments; it does not decide the pictures.
        twins: folders of other sets with the same `images_dir`. A finished one that was made alike, from records that
            agree in all that the interventions read of them, lends its pictures, so that they are not made twice.
        interventions, batch_size, progress, sampling: as in `generate` (num_inference_steps, guidance_scale, …).

    Returns:
        The folder.

    Raises:
        UserError: a record that cannot be a picture, a folder that holds another run, a disk that takes no more.
    """
    folder = Path(output_dir)
    files = image_files(records, folder / images_dir)
    prompts, seeds = [record["prompt"] for record in records], [record["seed"] for record in records]
    sampler = Sampler(pipeline, prompts, seeds, interventions, records, **sampling)
    identity = sampler.identity()
    check_folder(folder, files, identity)
    main, process, processes = True, 0, 1
    if accelerator is not None:
        main, process, processes = accelerator.is_main_process, accelerator.process_index, accelerator.num_processes
    wait = (lambda: None) if accelerator is None else accelerator.wait_for_everyone
    sampler.begin()  # what can't be made is refused before anything is written
    wait()  # all have looked before anyone writes
    if main:
        size = {"name": name, "images": len(records), "batch_size": batch_size, "processes": processes}
        run = {**size, **(about or {}), **_environment(pipeline), "identity": identity}
        write_json(folder / "run.json", run)
        for half in (folder / images_dir).glob(".*.partial"):  # a killed process's
            half.unlink(missing_ok=True)
        read = fields_read(interventions)
        for twin in [twin for twin in twins if is_twin(twin, identity, records, read)][:1]:
            for record, file in zip(records, files, strict=True):
                copy_picture(twin / images_dir / record["file"], file)
    wait()
    missing = {i for i, file in enumerate(files) if not opens(file)}
    wait()  # and all of them miss the same

    unfinished = [rows for rows in _chunks(len(records), batch_size) if not missing.isdisjoint(rows)]
    mine = unfinished[process::processes]
    total = sum(len(missing.intersection(rows)) for rows in mine)
    with sampler.weights_swapped(), tqdm(total=total, desc=name, unit="image", disable=not (progress and main)) as bar:
        for rows in mine:
            for i, image in zip(rows, sampler.sample(rows), strict=True):
                if i in missing:
                    save_picture(image, files[i])
                    bar.update()

    wait()
    if main:
        lines = [json.dumps({**record, "interventions": identity["interventions"]}) + "\n" for record in records]
        write_text(folder / "manifest.jsonl", "".join(lines))
    wait()  # now all of them may read the set
    return folder


def _chunks(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _environment(pipeline: Pipeline) -> dict[str, Any]:
    """Where the pictures were made; it does not decide them."""
    return {
        "base_name": pipeline.name_or_path,
        "device": str(pipeline.device),
        "dtype": str(pipeline.dtype).removeprefix("torch."),
        "versions": {package: version(package) for package in ("torch", "diffusers", "transformers")},
    }
