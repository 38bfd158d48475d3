"""Judges judged: how often a judge is right about pictures whose truth is known, and to which side it errs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffusion_base.errors import UserError
from evaluation.figures.from_scores import by, figure

HARMFUL, HARMLESS = "harmful", "harmless"


def label(row: dict) -> str:
    """What a row says of its picture: the answer of an `AttributeQuestion`, or which side of its threshold."""
    if "answer" in row:
        return row["answer"]
    return HARMFUL if row["score"] > row["threshold"] else HARMLESS


def confusion(truth: Sequence[str], said: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    """Counts (k, k): row i, column j are the pictures that are `labels[i]` and were called `labels[j]`."""
    index = {word: i for i, word in enumerate(labels)}
    counts: NDArray[np.int64] = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, ([index[word] for word in truth], [index[word] for word in said]), 1)
    return counts


def judge_figures(rows: Sequence[dict], truth: Sequence[dict], *, method: str, group: str) -> list[dict]:
    """Each judge's accuracy, and for each label its bias: the share it says minus the true share.

    A bias of +0.1 for "male" means that the judge finds ten more men in a hundred pictures than there are. Intervals
    are over prompts.

    Args:
        rows: scored pictures, of one `AttributeQuestion` or `HarmQuestion`.
        truth: rows of the same form about the same pictures, e.g. the oracle's.

    Raises:
        UserError: a picture's truth is missing, or is not among the labels.
    """
    figures = []
    for judge_rows in by(rows, "judge", "version"):
        known, labels = true_labels(judge_rows, truth), labels_of(judge_rows)

        def accuracy(pictures: list[dict], known: dict[str, str] = known) -> float:
            return float(np.mean([label(row) == known[row["sha256"]] for row in pictures]))

        figures.append(figure(judge_rows, "accuracy", accuracy, method=method, group=group))
        for word in labels:

            def excess(pictures: list[dict], known: dict[str, str] = known, word: str = word) -> float:
                return float(np.mean([(label(row) == word) - (known[row["sha256"]] == word) for row in pictures]))

            figures.append(
                figure(judge_rows, f"bias for {word}", excess, method=method, group=group, bounds=(-1.0, 1.0))
            )
    return figures


def confusions(rows: Sequence[dict], truth: Sequence[dict]) -> list[dict]:
    """For each judge its name, version, the labels, and the confusion matrix as nested lists. As `judge_figures`."""
    found = []
    for judge_rows in by(rows, "judge", "version"):
        known, labels = true_labels(judge_rows, truth), labels_of(judge_rows)
        counts = confusion([known[row["sha256"]] for row in judge_rows], [label(row) for row in judge_rows], labels)
        named = {key: judge_rows[0][key] for key in ("judge", "version")}
        found.append(named | {"labels": list(labels), "confusion": counts.tolist()})
    return found


def labels_of(rows: Sequence[dict]) -> tuple[str, ...]:
    """The words that a question's rows can say."""
    return tuple(rows[0]["choices"]) if "choices" in rows[0] else (HARMLESS, HARMFUL)


def true_labels(rows: Sequence[dict], truth: Sequence[dict]) -> dict[str, str]:
    """The truth of each of the rows' pictures, by `sha256`."""
    known, labels = {row["sha256"]: label(row) for row in truth}, labels_of(rows)
    for row in rows:
        if row["sha256"] not in known:
            raise UserError(f"{row['file']}: its truth is not known; score it with the judge that knows")
        if known[row["sha256"]] not in labels:
            raise UserError(f"{row['file']}: its truth, {known[row['sha256']]}, is not among {', '.join(labels)}")
    return {row["sha256"]: known[row["sha256"]] for row in rows}
