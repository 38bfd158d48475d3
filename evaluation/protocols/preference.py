"""Win rates: how often one method's pictures are preferred to another's of the same prompts."""

from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion_base.errors import UserError
from diffusion_base.processes import process_state
from evaluation.figures.from_scores import of_judge
from evaluation.figures.record import Figure, Subject, mean_figure
from evaluation.figures.stored import write_figures
from evaluation.pictures.folders import prompts_of, read_pictures
from evaluation.scores.answers import grouped
from evaluation.scores.asking import score_pictures
from evaluation.scores.questions import PreferenceQuestion
from scorers.feature_judge import FeatureJudge
from scorers.protocols import Judge


def wins(scores: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """1 where a score is higher than the other's, ½ where they are equal, 0 where it is lower. (n,), (n,) → (n,)."""
    return (np.sign(np.subtract(scores, others)) + 1) / 2


def medians(rows: Sequence[dict]) -> dict[str, float]:
    """The median score of each prompt's pictures, from one judge's rows of a `PreferenceQuestion`."""
    return {
        prompt[0]["prompt"]: float(np.median([row["score"] for row in prompt]))
        for prompt in grouped(rows, itemgetter("prompt"))
    }


def preference_figures(
    rows: Sequence[dict], others: Sequence[dict], *, method: str, against: str, pictures: str = ""
) -> list[Figure]:
    """The win rate of `method` by each judge: the share of prompts at which its median picture scores higher.

    Args:
        rows, others: of a `PreferenceQuestion` about the two sets.
        method, against: what the sets are called.
        pictures: the name of the method's set.

    Raises:
        UserError: the sets' prompts differ, or one set was scored by other judges.

    Source: Li et al., "Aligning Diffusion Models by Optimizing Human Utility" (NeurIPS 2024), who compare medians of
    five pictures; here a tie counts as half a win.
    """
    subject = Subject("preference", pictures, f"against {against}", prompt_set=pictures)
    figures = []
    theirs = {of_judge(judge[0]): judge for judge in grouped(others, of_judge)}
    for judge_rows in grouped(rows, of_judge):
        judge, version = of_judge(judge_rows[0])
        if (judge, version) not in theirs:
            raise UserError(f"{against} was not scored by {judge} {version}; score both sets with the same judges")
        ours, other = medians(judge_rows), medians(theirs[judge, version])
        if different := sorted(ours.keys() ^ other.keys()):
            having = method if different[0] in ours else against
            raise UserError(f"{method} and {against} are not of the same prompts: only {having} has {different[0]!r}")
        won = dict(zip(ours, wins(list(ours.values()), [other[prompt] for prompt in ours]).tolist(), strict=True))
        of_prompt = partial(_won, won)
        figures.append(mean_figure(judge_rows, "win rate", of_prompt, method=method, subject=subject))
    return figures


def _won(won: dict[str, float], rows: Sequence[dict]) -> float:
    return won[rows[0]["prompt"]]


def win_rates(
    pictures: Path,
    against: Path,
    save_path: Path,
    *,
    judges: Sequence[Judge | FeatureJudge],
    method: str,
    against_method: str,
) -> list[Figure]:
    """Score two sets of pictures of the same prompts, and write and return the first one's win rates.

    Raises:
        UserError: see `read_pictures`, `prompts_of` and `preference_figures`.
    """
    sets = {method: _read(pictures), against_method: _read(against)}
    rows = {
        name: score_pictures(of, PreferenceQuestion(), judges, save_path / "scores" / f"preference_{name}.jsonl")
        for name, of in sets.items()
    }
    figures = preference_figures(
        rows[method], rows[against_method], method=method, against=against_method, pictures=pictures.resolve().name
    )
    if process_state().is_main_process:
        write_figures(save_path / "figures" / f"preference_{method}_{against_method}.json", figures)
    return figures


def _read(folder: Path) -> list[tuple[Path, dict]]:
    pictures = read_pictures(folder)
    prompts = prompts_of(pictures)
    return [
        (file, {"file": file.name, "prompt": prompt} | ({} if seed is None else {"seed": seed}))
        for file, prompt, seed in zip(pictures.files, prompts, pictures.seeds, strict=True)
    ]
