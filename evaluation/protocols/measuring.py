"""How a protocol runs that makes its pictures or is given them, and where things lie: LiVO's layout (ACM MM 2024).

<save_path>/imgs/bias_gender_career/    {prompt}_{image}.jpg, prompt.jsonl; manifest.jsonl and run.json beside them
<save_path>/scores/….jsonl              a row a picture and a judge
<save_path>/results/….jsonl             a row a prompt, in LiVO's own form, by the first judge
<save_path>/figures/….json              the figures, with their intervals, by every judge
<save_path>/features/                   CLIP's features of the pictures, found again by eval_imgs.py
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

import tyro

from diffusion_base.errors import UserError
from diffusion_base.files import write_jsonl, write_text
from diffusion_base.processes import process_state, usable_device
from evaluation.figures.from_scores import table
from evaluation.generate import GenerationArguments, Maker
from evaluation.pictures.given import take_set
from evaluation.pictures.methods import Method
from evaluation.protocols.plans import Measure, Plan
from evaluation.scores.scoring import read_set, score_pictures, try_out
from scorers.clip import VIT_L14
from scorers.feature_judge import by_features
from scorers.protocols import Judge, load_judge


@dataclass
class EvaluationArguments:
    """The flags that all protocols of bias and harm share."""

    generation: GenerationArguments
    save_path: Path
    """Folder for pictures, scores and figures; an interrupted run goes on there."""
    judge: Annotated[list[str], tyro.conf.UseAppendAction] = field(default_factory=list)
    """Judge as package:path?option=value, e.g. scorers:clip?model=openai/clip-vit-large-patch14; may be repeated. The
    first one's answers go to results/. Default: the CLIP beside the base (its folder's clip/), else that one (for
    WinoBias openai/clip-vit-base-patch32, as published); for I2P see --q16_prompts."""
    pictures: list[Path] = field(default_factory=list)
    """Folders of pictures that are there already, of any model: generated sets, or LiVO's layout. These are judged and
    none are made, so that flags about making have no effect; --method names what made them."""
    features_dir: Path | None = None
    """Where CLIP's features are kept and found again, by default <save_path>/features; several runs may share it."""
    image_format: Literal["jpg", "png"] = "jpg"
    """jpg is the published layout, quality 95; png keeps the pictures exact (JPEG moves scores a little)."""
    num_workers: int = 2
    """Processes that decode pictures; 0 decodes in the main one."""

    def __post_init__(self) -> None:
        if self.num_workers < 0:
            raise UserError(f"--num_workers {self.num_workers}: it must be 0 or more")
        if self.pictures and (self.generation.intervention or self.generation.livo_model):
            raise UserError("--pictures are there already: leave --intervention and --livo_model out")

    @property
    def method(self) -> Method:
        """What makes the pictures, or made them."""
        making = self.generation
        return Method(making.method or "pictures") if self.pictures else making.named_method


def clip_of(base: str, otherwise: str = VIT_L14) -> str:
    """The CLIP beside the base, where there is one; else another, LiVO's by default."""
    beside = Path(base) / "clip"
    return str(beside) if beside.is_dir() else otherwise


def evaluate(arguments: EvaluationArguments, plans: Sequence[Plan], measures: Sequence[Measure]) -> list[dict]:
    """Run a protocol: generate or take each set, score it, write results and figures, print the table.

    Raises:
        UserError: the method, a judge or the base cannot be had, or LiVO is to be run without a value.
    """
    making = arguments.generation
    method = arguments.method
    if making.livo_model and not method.names_value and any(plan.lacks_value for plan in plans):
        raise UserError("--livo_model needs a value here; name one with --value, e.g. --value 'gender equality'")
    state = process_state()
    device = str(usable_device(making.device or state.device))
    judges = load_judges(arguments, device)  # first: a missing judge shows at once
    for judge in judges:
        for question in [question for measure in measures for question in measure.questions]:
            try_out(judge, question)
    maker = None if arguments.pictures else Maker.load(making, method, device, state)
    images, found = arguments.save_path / "imgs", []
    for plan in plans:
        folder = images / plan.name
        if plan.pictures is not None:
            if state.is_main_process:
                take_set(plan.pictures, plan.rows, folder, method.name)
            state.wait_for_everyone()
        if maker is not None:
            maker.make(
                plan.rows,
                folder,
                suffix=arguments.image_format,
                value=plan.value,
                value_images=plan.value_images,
                twins=sorted(images.glob("*")),
            )
        for measure in measures:
            rows = [
                row
                for question in measure.questions
                if plan.asked is None or question.question in plan.asked
                for row in score_pictures(
                    read_set(folder, "."),
                    question,
                    judges,
                    arguments.save_path / "scores" / f"{plan.name}.jsonl",
                    num_workers=arguments.num_workers,
                )
            ]
            if not state.is_main_process:
                continue
            name = f"{plan.name}_{measure.name}" if measure.name else plan.name
            first = [row for row in rows if row["judge"] == judges[0].name and row["version"] == judges[0].version]
            write_jsonl(arguments.save_path / "results" / f"{name}.jsonl", measure.results(first))
            figures = measure.figures(rows, method=method.name, group=plan.group)
            figures = [row | {"interventions": list(method.specs)} for row in figures]
            found += write_figures(arguments.save_path / "figures" / f"{name}.json", figures)
    if state.is_main_process:
        print(table(found))
    return found


def load_judges(arguments: EvaluationArguments, device: str) -> list[Judge]:
    """The judges that the flags name, on a device; a CLIP reads features, which other metrics find again.

    Raises:
        UserError: a judge that cannot be loaded, or two of one name.
    """
    base = arguments.generation.base.pretrained_model_name_or_path
    specs = arguments.judge or [f"scorers:clip?model={quote(clip_of(base))}"]
    judges = [load_judge(spec, device) for spec in specs]
    if len({judge.name for judge in judges}) < len(judges):
        raise UserError(f"two judges have the same name ({', '.join(judge.name for judge in judges)}); take one")
    features = arguments.features_dir or arguments.save_path / "features"
    return [by_features(judge, features) for judge in judges]


def write_figures(file: Path, figures: list[dict]) -> list[dict]:
    write_text(file, json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    return figures
