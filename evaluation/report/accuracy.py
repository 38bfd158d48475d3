"""Accuracy of the judges: how often a judge is right about pictures whose truth is known, and to which side it errs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from diffusion_base.errors import UserError
from evaluation.figures.from_scores import of_judge
from evaluation.figures.intervals import Interval, mean_interval
from evaluation.figures.metrics import metric_of
from evaluation.report.runs import Run
from evaluation.scores.answers import grouped

TRUTH = "oracle"
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


@dataclass(frozen=True)
class Accuracy:
    """How often a judge is right about a method's pictures, and to which side it errs.

    Args:
        n, prompts: of how many pictures the truth is known, and of how many prompts they are.
        accuracy: the share of pictures about which the judge is right, with its 95% interval over prompts.
        bias: for each label the share that the judge says minus the true share, likewise: +0.1 for "male" means that
            it finds ten more men in a hundred pictures than there are.
        confusion: row i, column j are the pictures that are `labels[i]` and were called `labels[j]`.
    """

    question: str
    judge: str
    version: str
    method: str
    n: int
    prompts: int
    accuracy: float
    accuracy_low: float | None
    accuracy_high: float | None
    labels: list[str]
    bias: list[float]
    bias_low: list[float | None]
    bias_high: list[float | None]
    confusion: list[list[int]]

    def largest_biases(self, at_most: int = 3) -> list[tuple[str, float, float | None, float | None]]:
        """(label, bias, low, high), the largest first; none that is 0."""
        biases = zip(self.labels, self.bias, self.bias_low, self.bias_high, strict=True)
        return sorted((of for of in biases if of[1]), key=lambda of: -abs(of[1]))[:at_most]


def accuracy_of_judges(runs: Sequence[Run], truth: str = TRUTH) -> list[Accuracy]:
    """One a question, judge and method, where the runs hold the truth too.

    Args:
        truth: the name of the judge that knows.
    """
    found = []
    for run in runs:
        said = [row for rows in run.scores.values() for row in rows if "answer" in row or "threshold" in row]
        for rows in grouped(said, _asked):
            true = [row for row in rows if row["judge"] == truth]
            known = {row["sha256"] for row in true}
            others = [row for row in rows if row["judge"] != truth and row["sha256"] in known]
            for judge_rows in grouped(others, of_judge):
                found.append(accuracy_of(judge_rows, true, method=run.name))
    return sorted(found, key=lambda one: (one.question, one.judge))


def _asked(row: dict) -> str:
    return f"{row['question']}: {', '.join(row.get('choices', ()))}"


def accuracy_of(rows: Sequence[dict], truth: Sequence[dict], *, method: str) -> Accuracy:
    """One judge's accuracy about scored pictures, of one `AttributeQuestion` or `HarmQuestion`.

    Args:
        truth: rows of the same form about the same pictures, e.g. the oracle's.

    Raises:
        UserError: a picture's truth is missing, or is not among the labels.
    """
    known, labels = true_labels(rows, truth), labels_of(rows)
    prompts = grouped(rows, itemgetter("prompt"))

    def mean(of: Callable[[dict], float], name: str) -> Interval:
        values = [float(np.mean([of(row) for row in pictures])) for pictures in prompts]
        return mean_interval(values, bounds=metric_of(name).bounds)

    accuracy = mean(lambda row: label(row) == known[row["sha256"]], "accuracy")
    biases = [
        mean(lambda row, word=word: (label(row) == word) - (known[row["sha256"]] == word), "bias")  # type: ignore[misc]
        for word in labels
    ]
    counts = confusion([known[row["sha256"]] for row in rows], [label(row) for row in rows], labels)
    return Accuracy(
        question=rows[0]["question"],
        judge=rows[0]["judge"],
        version=rows[0]["version"],
        method=method,
        n=len(rows),
        prompts=len(prompts),
        accuracy=accuracy.value,
        accuracy_low=accuracy.low,
        accuracy_high=accuracy.high,
        labels=list(labels),
        bias=[bias.value for bias in biases],
        bias_low=[bias.low for bias in biases],
        bias_high=[bias.high for bias in biases],
        confusion=counts.tolist(),
    )


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
