"""LiVO's evaluation protocol (ACM MM 2024): which pictures are made, where they lie, and how a run goes.

<save_path>/imgs/bias_gender_career/    {prompt}_{image}.jpg, prompt.jsonl; manifest.jsonl and run.json beside them
<save_path>/scores/….jsonl              a row a picture and a judge
<save_path>/results/….jsonl             a row a prompt, in LiVO's own form, by the first judge
<save_path>/figures/….json              the figures, with their intervals, by every judge
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal
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
from evaluation.scoring import Question, read_set, score_pictures, write_jsonl
from scorers.clip import VIT_L14
from scorers.protocols import Judge, load_judge

SEED_STRIDE = 1000  # pictures a prompt for which the seeds of two prompts stay apart


@dataclass
class EvaluationArguments:
    """The flags that eval_bias.py and eval_toxicity.py share."""

    base: BaseArguments
    eval_data: list[Path]
    """Prompt files: JSON lines, {"prompt": …} each."""
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
    first one's answers go to results/. Default: the CLIP beside the base (its folder's clip/), else that one."""
    images_per_prompt: int = 50
    """LiVO makes 50."""
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
    prompts: Sequence[str],
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
        value: the value statement; None leaves it out of the records.
        value_images: None is all of them.
    """
    records = []
    for p, prompt in enumerate(prompts):
        for i in range(images_per_prompt):
            record = {"file": f"{p}_{i}.{suffix}", "prompt": prompt, "prompt_index": p}
            record["seed"] = seed + SEED_STRIDE * p + i
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


def clip_of(base: str) -> str:
    """The CLIP beside the base, where there is one; else LiVO's."""
    beside = Path(base) / "clip"
    return str(beside) if beside.is_dir() else VIT_L14


def evaluate(
    arguments: EvaluationArguments,
    *,
    kind: str,
    value: str,
    value_images: int | None,
    question: Question,
    results: Callable[[list[dict]], list[dict]],
    figures: Callable[..., list[dict]],
) -> list[dict]:
    """Run the protocol on every prompt file: generate, score, write results and figures, print the table.

    Args:
        kind: first part of the sets' names, e.g. "bias_gender".
        value, value_images: as in `make_records`.
        question: asked of every picture.
        results: one judge's rows → LiVO's result rows.
        figures: all judges' rows, method=, group= → figure rows.
    """
    check_method(arguments.method, arguments.livo_model)
    prompt_files = [(file.stem, read_prompts(file)) for file in arguments.eval_data]
    if len({stem for stem, _ in prompt_files}) < len(prompt_files):
        raise UserError("--eval_data: two files have the same name, so their pictures would share a folder")
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
    for stem, prompts in prompt_files:
        name = f"{kind}_{stem}"
        records = make_records(
            prompts,
            images_per_prompt=arguments.images_per_prompt,
            value=value if interventions else None,
            value_images=value_images,
            seed=arguments.seed,
            suffix=arguments.image_format,
        )
        folder = generate_set(
            pipeline,
            records,
            arguments.save_path / "imgs" / name,
            interventions,
            num_inference_steps=arguments.num_inference_steps,
            guidance_scale=arguments.guidance_scale,
            batch_size=arguments.batch_size,
            accelerator=state,
            name=name,
            images_dir=".",
        )
        if not state.is_main_process:
            continue
        write_jsonl(folder / "prompt.jsonl", [{"prompt": prompt} for prompt in prompts])
        rows = score_pictures(read_set(folder, "."), question, judges, arguments.save_path / "scores" / f"{name}.jsonl")
        first = [row for row in rows if row["judge"] == judges[0].name and row["version"] == judges[0].version]
        write_jsonl(arguments.save_path / "results" / f"{name}.jsonl", results(first))
        found += write_figures(
            arguments.save_path / "figures" / f"{name}.json", figures(rows, method=arguments.method, group=stem)
        )
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
