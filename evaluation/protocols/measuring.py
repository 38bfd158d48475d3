"""Sets of pictures, made or given, to scores and figures, and where things lie: LiVO's layout (ACM MM 2024).

<save_path>/imgs/bias_gender_career/    {prompt}_{image}.jpg, prompt.jsonl; manifest.jsonl and run.json beside them
<save_path>/scores/….jsonl              a row a picture and a judge
<save_path>/results/….jsonl             a row a prompt, in LiVO's own form, by the first judge
<save_path>/figures/….json              the figures, with their intervals, by every judge
<save_path>/features/                   CLIP's features of the pictures, found again by eval_imgs.py
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from diffusion_base.errors import UserError
from diffusion_base.files import write_jsonl
from diffusion_base.processes import process_state
from evaluation.figures.record import Figure
from evaluation.figures.stored import write_figures
from evaluation.pictures.folders import read_set
from evaluation.pictures.given import adopt_set
from evaluation.pictures.making import Maker
from evaluation.protocols.plans import Measure, Plan
from evaluation.scores.answers import grouped
from evaluation.scores.asking import score_pictures
from evaluation.scores.questions import try_out
from scorers.feature_judge import FeatureJudge, on_features
from scorers.protocols import Judge, load_judge


def evaluate(
    plans: Sequence[Plan],
    save_path: str | Path,
    *,
    judges: Sequence[str | Judge | FeatureJudge],
    maker: Maker | Callable[[], Maker] | None = None,
    method: str | None = None,
    image_format: str = "jpg",
    features_dir: Path | None = None,
    device: str | torch.device = "cpu",
    num_workers: int = 2,
    progress: bool = True,
) -> list[Figure]:
    """Make each set of pictures or read those that are there, ask the judges about it, and write what comes of it.

    Args:
        plans: the sets, and what is measured on each; `evaluation.protocols` has those of the papers.
        save_path: folder for pictures, scores and figures; an interrupted run goes on there.
        judges: as package:path?option=value, or loaded. The first one's answers go to results/.
        maker: makes the pictures, or loads what does once the judges are there; without one the pictures are a plan's
            own, or are in `save_path` already.
        method: what the figures call what made the pictures; by default the maker's name for it.
        image_format: of pictures that are made from rows: jpg is the published layout, png exact.
        features_dir: where CLIP's features are kept, by default <save_path>/features.
        device: where judges run that are named.
        num_workers: processes that decode pictures; 0 decodes in the main one.

    Returns:
        The figures; on the main process alone.

    Raises:
        UserError: a judge cannot be had or does not know a question, or pictures cannot be made or read.
    """
    save_path, state = Path(save_path), process_state()
    loaded = load_judges(judges, device, features_dir or save_path / "features")  # first: a missing judge shows at once
    for judge in loaded:
        for question in dict.fromkeys(q for plan in plans for measure in plan.measures for q in measure.questions):
            try_out(judge, question)
    maker = maker() if callable(maker) else maker
    named = method or (maker.method.name if maker else "pictures")
    specs = maker.method.specs if maker else ()
    found: list[Figure] = []
    for plan in plans:
        pictures = read_set(_picture_folder(plan, save_path / "imgs", maker, named, image_format), ".")
        scores = save_path / "scores" / f"{plan.name}.jsonl"
        for name, measures in _by_name(plan.measures):
            figures: list[Figure] = []
            for measure in measures:
                rows = [
                    row
                    for question in measure.questions
                    for row in score_pictures(
                        pictures, question, loaded, scores, num_workers=num_workers, progress=progress
                    )
                ]
                if not state.is_main_process:
                    continue
                if measure.results is not None:
                    first = [row for row in rows if row["judge"] == loaded[0].name]
                    write_jsonl(save_path / "results" / f"{plan.name}{name}.jsonl", measure.results(first))
                own = measure.figures(rows, method=named, subject=plan.subject)
                figures += [replace(figure, interventions=specs) for figure in own]
            if state.is_main_process:
                write_figures(save_path / "figures" / f"{plan.name}{name}.json", figures)
                found += figures
    return found


def _by_name(measures: Sequence[Measure]) -> list[tuple[str, list[Measure]]]:
    """The measures whose figures share a file, with what follows the set's name there."""
    return [
        (f"_{same[0].name}" if same[0].name else "", same) for same in grouped(measures, lambda measure: measure.name)
    ]


def _picture_folder(plan: Plan, images: Path, maker: Maker | None, method: str, image_format: str) -> Path:
    """The set's folder, with the pictures in it."""
    folder, state = images / plan.name, process_state()
    if plan.pictures is not None:
        if state.is_main_process:
            adopt_set(plan.pictures, plan.rows, folder, method)
        state.wait_for_everyone()
    elif maker is not None:
        twins = [twin for twin in sorted(images.glob("*")) if twin != folder]
        if plan.records is not None:
            return maker.make_pictures(plan.records, folder, twins=twins)
        maker.make(
            plan.rows,
            folder,
            suffix=image_format,
            value=plan.value,
            value_images=plan.value_images,
            twins=twins,
        )
    return folder


def load_judges(
    judges: Sequence[str | Judge | FeatureJudge], device: str | torch.device, features: Path
) -> list[Judge | FeatureJudge]:
    """The judges, those that are named loaded on a device; a CLIP reads features, which other metrics find again.

    Raises:
        UserError: no judge, one that cannot be loaded, or two of one name.
    """
    loaded = [
        judge if isinstance(judge, FeatureJudge) else on_features(judge, features)
        for judge in (load_judge(judge, str(device)) if isinstance(judge, str) else judge for judge in judges)
    ]
    if not loaded:
        raise UserError("a judge is needed, e.g. scorers:clip")
    if len({judge.name for judge in loaded}) < len(loaded):
        raise UserError(f"two judges have the same name ({', '.join(judge.name for judge in loaded)}); name one")
    return loaded
