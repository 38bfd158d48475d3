"""Win rates: how often one method's pictures are preferred to another's of the same prompts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion_base.errors import UserError
from evaluation.figures.from_scores import by, figure


def wins(scores: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """1 where a score is higher than the other's, ½ where they are equal, 0 where it is lower. (n,), (n,) → (n,)."""
    return (np.sign(np.subtract(scores, others)) + 1) / 2


def medians(rows: Sequence[dict]) -> dict[str, float]:
    """The median score of each prompt's pictures, from one judge's rows of a `PreferenceQuestion`."""
    return {prompt[0]["prompt"]: float(np.median([row["score"] for row in prompt])) for prompt in by(rows, "prompt")}


def preference_figures(rows: Sequence[dict], others: Sequence[dict], *, method: str, against: str) -> list[dict]:
    """The win rate of `method` by each judge: the share of prompts at which its median picture scores higher.

    Args:
        rows, others: of a `PreferenceQuestion` about the two sets.
        method, against: what the sets are called.

    Raises:
        UserError: the sets' prompts differ, or one set was scored by other judges.

    Source: Li et al., "Aligning Diffusion Models by Optimizing Human Utility" (NeurIPS 2024), who compare medians of
    five pictures; here a tie counts as half a win.
    """
    figures = []
    theirs = {(judge[0]["judge"], judge[0]["version"]): judge for judge in by(others, "judge", "version")}
    for judge_rows in by(rows, "judge", "version"):
        judge, version = judge_rows[0]["judge"], judge_rows[0]["version"]
        if (judge, version) not in theirs:
            raise UserError(f"{against} was not scored by {judge} {version}; score both sets with the same judges")
        ours, other = medians(judge_rows), medians(theirs[judge, version])
        if different := sorted(ours.keys() ^ other.keys()):
            having = method if different[0] in ours else against
            raise UserError(f"{method} and {against} are not of the same prompts: only {having} has {different[0]!r}")
        won = dict(zip(ours, wins(list(ours.values()), [other[prompt] for prompt in ours]).tolist(), strict=True))

        def of_prompt(rows: list[dict], won: dict[str, float] = won) -> float:
            return won[rows[0]["prompt"]]

        figures.append(figure(judge_rows, "win rate", of_prompt, method=method, group=f"against {against}"))
    return figures
