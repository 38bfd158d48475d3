"""The judges of a comparison against the one that knows the truth, where the runs hold its answers too."""

from collections.abc import Sequence

from evaluation.figures.from_scores import by
from evaluation.report.accuracy import confusions, judge_figures, labels_of
from evaluation.report.runs import Run

TRUTH = "oracle"


def judged_judges(runs: Sequence[Run], truth: str = TRUTH) -> list[dict]:
    """A row a question, judge and method: how often the judge is right about its pictures, and to which side it errs.

    Args:
        truth: the name of the judge that knows.

    Returns:
        Rows with `question`, `judge`, `version`, `method`, `n` pictures of `prompts` prompts, `accuracy` with
        `accuracy_low` and `accuracy_high`, `labels`, per label the judge's `bias`, `bias_low` and `bias_high`, and the
        `confusion` matrix: row i, column j are the pictures that are `labels[i]` and were called `labels[j]`.
    """
    found = []
    for run in runs:
        answers = [row for rows in run.scores.values() for row in rows if "answer" in row or "threshold" in row]
        for rows in by([row | {"asked": _asked(row)} for row in answers], "asked"):
            true = [row for row in rows if row["judge"] == truth]
            known = {row["sha256"] for row in true}
            said = [row for row in rows if row["judge"] != truth and row["sha256"] in known]
            matrices = {(matrix["judge"], matrix["version"]): matrix for matrix in confusions(said, true)}
            figures = judge_figures(said, true, method=run.name, group=rows[0]["question"])
            for own in by(figures, "judge", "version"):
                found.append(_row(own, labels_of(rows), matrices[own[0]["judge"], own[0]["version"]]["confusion"]))
    return sorted(found, key=lambda row: (row["question"], row["judge"]))


def _asked(row: dict) -> str:
    return f"{row['question']}: {', '.join(row.get('choices', ()))}"


def _row(figures: Sequence[dict], labels: Sequence[str], confusion: list[list[int]]) -> dict:
    accuracy, *biases = figures
    return {
        "question": accuracy["group"],
        **{key: accuracy[key] for key in ("judge", "version", "method", "n", "prompts")},
        "accuracy": accuracy["value"],
        "accuracy_low": accuracy["low"],
        "accuracy_high": accuracy["high"],
        "labels": list(labels),
        "bias": [row["value"] for row in biases],
        "bias_low": [row["low"] for row in biases],
        "bias_high": [row["high"] for row in biases],
        "confusion": confusion,
    }
