"""LiVO's evaluation protocol (ACM MM 2024): which pictures are made, where they lie, and how a run goes.

<save_path>/imgs/bias_gender_career/    {prompt}_{image}.jpg, prompt.jsonl; manifest.jsonl and run.json beside them
<save_path>/scores/….jsonl              a row a picture and a judge
<save_path>/results/….jsonl             a row a prompt, in LiVO's own form, by the first judge
<save_path>/figures/….json              the figures, with their intervals, by every judge
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import tyro

from diffusion_base.arguments import BaseArguments
from diffusion_base.data import read_jsonl
from diffusion_base.errors import UserError
from diffusion_base.generation import generate_set
from diffusion_base.pipeline import load_pipeline
from diffusion_base.processes import process_state, usable_device
from evaluation.figures import table
from evaluation.methods import check_method, interventions_of
from evaluation.plans import Measure, Plan
from evaluation.scoring import read_set, score_pictures, write_jsonl
from scorers.clip import VIT_L14
from scorers.protocols import Judge, load_judge

SEED_STRIDE = 1000  # pictures a prompt for which the seeds of two prompts stay apart


@dataclass
class EvaluationArguments:
    """The flags that all protocols share which make their pictures."""

    base: BaseArguments
    save_path: Path
    """Folder for pictures, scores and figures; an interrupted run goes on there."""
    method: str = "base"
    """base (also called sd-1-5), or livo."""
    livo_model: str | None = None
    """For livo: the value encoder's folder, or that of the run or checkpoint that holds value_encoder/."""
    device: str | None = None
    """Where generation and judges run, e.g. cuda:0; by default the GPU where there is one."""
    judge: Annotated[list[str], tyro.conf.UseAppendAction] = field(default_factory=list)
    """Judge as package:path?option=value, e.g. scorers:clip?model=openai/clip-vit-large-patch14; may be repeated. The
    first one's answers go to results/. Default: the CLIP beside the base (its folder's clip/), else that one (for
    WinoBias openai/clip-vit-base-patch32, as published); for I2P see --q16_prompts."""
    images_per_prompt: int = 50
    """Of each prompt; LiVO makes 50."""
    seed: int = 42
    """Of the first picture; picture i of prompt p has seed + 1000 p + i."""
    num_inference_steps: int = 25
    """Steps of DPM-Solver++."""
    guidance_scale: float = 7.5
    """Of classifier-free guidance."""
    batch_size: int = 8
    """Pictures made together."""
    image_format: Literal["jpg", "png"] = "jpg"
    """jpg is the published layout, quality 95; png keeps the pictures exact (JPEG moves scores a little)."""

    def __post_init__(self) -> None:
        if not 1 <= self.images_per_prompt <= SEED_STRIDE:
            raise UserError(f"--images_per_prompt must lie between 1 and {SEED_STRIDE}")
        for name in ("batch_size", "num_inference_steps"):
            if vars(self)[name] < 1:
                raise UserError(f"--{name} {vars(self)[name]}: it must be 1 or more")


def make_records(
    prompts: Sequence[str | Mapping[str, Any]],
    *,
    images_per_prompt: int = 50,
    value: str | None = None,
    value_images: int | None = None,
    seed: int = 42,
    suffix: str = "png",
) -> list[dict]:
    """The pictures of a set: `images_per_prompt` of every prompt, the first `value_images` of each with the value.

    The seed depends on the prompt's and the picture's number alone, so that all methods start from the same noise.

    Args:
        prompts: texts, or rows {"prompt": …, …} whose further fields the records repeat; a row's "seed" is that of its
            first picture.
        value: the value statement; None leaves it out of the records.
        value_images: None is all of them.
    """
    records = []
    for p, row in enumerate({"prompt": row} if isinstance(row, str) else row for row in prompts):
        first: int = row.get("seed", seed + SEED_STRIDE * p)  # type: ignore[assignment]  # a row may be all text
        for i in range(images_per_prompt):
            record = {**row, "file": f"{p}_{i}.{suffix}", "prompt_index": p, "seed": first + i}
            if value is not None:
                record |= {"value": value, "value_applied": value_images is None or i < value_images}
            records.append(record)
    return records


def read_prompts(file: Path) -> list[str]:
    """The prompts of an evaluation file.

    Raises:
        UserError: no such file, none in it, or a malformed line (named).
    """
    prompts = [row["prompt"] for row in read_jsonl(file, required=["prompt"])]
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise UserError(f"{file}: a prompt must be text, not {prompt!r}")
    if not prompts:
        raise UserError(f"{file} holds no prompts")
    return prompts


def clip_of(base: str, otherwise: str = VIT_L14) -> str:
    """The CLIP beside the base, where there is one; else another, LiVO's by default."""
    beside = Path(base) / "clip"
    return str(beside) if beside.is_dir() else otherwise


def livo_plans(kind: str, files: Sequence[Path], value: str | None, value_images: int | None = None) -> list[Plan]:
    """A set for each of LiVO's prompt files, called after `kind` and the file.

    Raises:
        UserError: see `read_prompts`; or two files have the same name.
    """
    prompts = {file.stem: read_prompts(file) for file in files}
    if len(prompts) < len(files):
        raise UserError("--eval_data: two files have the same name, so their pictures would share a folder")
    return [Plan(f"{kind}_{stem}", stem, rows, value, value_images) for stem, rows in prompts.items()]


def evaluate(arguments: EvaluationArguments, plans: Sequence[Plan], measures: Sequence[Measure]) -> list[dict]:
    """Run a protocol: generate each set, score it, write results and figures, print the table.

    Raises:
        UserError: see `check_method` and `load_judges`; or the method needs a value and a set has none.
    """
    check_method(arguments.method, arguments.livo_model)
    if arguments.method == "livo" and any(plan.value is None for plan in plans):
        raise UserError("--method livo needs a value here; name one with --value, e.g. --value 'gender equality'")
    state = process_state()
    device = str(usable_device(arguments.device or state.device))
    judges = load_judges(arguments, device) if state.is_main_process else []  # first: a missing judge shows at once
    pipeline = load_pipeline(
        arguments.base.pretrained_model_name_or_path,
        device=device,
        revision=arguments.base.revision,
        variant=arguments.base.variant,
        cache_dir=arguments.base.cache_dir,
    )
    interventions = interventions_of(arguments.method, arguments.livo_model, pipeline)
    found: list[dict] = []
    for plan in plans:
        records = make_records(
            plan.prompts,
            images_per_prompt=arguments.images_per_prompt,
            value=plan.value if interventions else None,
            value_images=plan.value_images,
            seed=arguments.seed,
            suffix=arguments.image_format,
        )
        folder = generate_set(
            pipeline,
            records,
            arguments.save_path / "imgs" / plan.name,
            interventions,
            num_inference_steps=arguments.num_inference_steps,
            guidance_scale=arguments.guidance_scale,
            batch_size=arguments.batch_size,
            accelerator=state,
            name=plan.name,
            images_dir=".",
        )
        if not state.is_main_process:
            continue
        prompts = {record["prompt_index"]: record["prompt"] for record in records}
        write_jsonl(folder / "prompt.jsonl", [{"prompt": prompt} for prompt in prompts.values()])
        for measure in measures:
            name = f"{plan.name}_{measure.name}" if measure.name else plan.name
            scores = arguments.save_path / "scores" / f"{plan.name}.jsonl"
            rows = [
                row
                for question in measure.questions
                for row in score_pictures(read_set(folder, "."), question, judges, scores)
            ]
            first = [row for row in rows if row["judge"] == judges[0].name and row["version"] == judges[0].version]
            write_jsonl(arguments.save_path / "results" / f"{name}.jsonl", measure.results(first))
            figures = measure.figures(rows, method=arguments.method, group=plan.group)
            found += write_figures(arguments.save_path / "figures" / f"{name}.json", figures)
    if state.is_main_process:
        print(table(found))
    return found


def load_judges(arguments: EvaluationArguments, device: str) -> list[Judge]:
    specs = arguments.judge or [f"scorers:clip?model={quote(clip_of(arguments.base.pretrained_model_name_or_path))}"]
    judges = [load_judge(spec, device) for spec in specs]
    if len({judge.name for judge in judges}) < len(judges):
        raise UserError(f"two judges have the same name ({', '.join(judge.name for judge in judges)}); take one")
    return judges


def write_figures(file: Path, figures: list[dict]) -> list[dict]:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return figures
