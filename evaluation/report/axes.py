"""Every method on every axis: bias, harm, image quality and preference, a column a metric."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.figures.from_scores import by
from evaluation.figures.intervals import mean_interval
from evaluation.figures.metrics import AXES, bounds
from evaluation.report.paired import figures_of, with_the_first
from evaluation.report.runs import Run


@dataclass(frozen=True)
class Column:
    """A metric in the table of all axes: the rows of the methods by the first judge, and those by the others."""

    axis: str
    metric: str
    topic: str
    rows: list[dict]
    others: list[dict]


def across_axes(runs: Sequence[Run]) -> list[Column]:
    """The columns of the table of all axes.

    The prompt files of a topic are taken together, as are all sets for image quality; only those that all methods have.
    """
    figures, first_name = figures_of(runs), runs[0].name
    columns = []
    for axis, metrics in AXES.items():
        topic = {"image quality": "metric", "preference": "judge"}.get(axis, "topic")
        for metric in metrics:
            for same in by(_headlines(figures, metric, first_name), topic):
                rows, *others = (_pooled(of_judge, first_name) for of_judge in by(same, "judge"))
                if rows:
                    about = "" if topic == "metric" else same[0][topic]
                    columns.append(Column(axis, metric, about, rows, [row for other in others for row in other]))
    return columns


def _headlines(figures: Sequence[dict], metric: str, first_name: str) -> list[dict]:
    """The figures of a metric that stand for their file: of I2P's categories or an intersection's parts, the whole."""
    rows = [row for row in figures if row["metric"] == metric]
    if metric in AXES["bias"]:  # one a file: WinoBias has a metric of its own
        rows = [row for row in rows if (metric == "deviation ratio") == row["file"].startswith("winobias")]
    if metric in AXES["preference"]:
        rows = [row for row in rows if row["group"] == f"against {first_name}"]
    return [max(same, key=lambda row: row["prompts"] or 0) for same in by(rows, "file", "judge", "method")]


def _pooled(rows: Sequence[dict], first_name: str) -> list[dict]:
    """One figure a method, over the sets that all of them have; compared with the first's."""
    methods = by(rows, "method")
    shared = set.intersection(*({row["measured_on"] for row in own} for own in methods))
    kept = [[row for row in own if row["measured_on"] in shared] for own in methods]
    return with_the_first([together(own) for own in kept], first_name) if shared else []


def together(rows: Sequence[dict]) -> dict:
    """One figure of several sets, with its `files`: the mean over their prompts; one in several sets counts once."""
    rows = sorted((row for row in rows if row["per_prompt"]), key=lambda row: row["measured_on"]) or rows[:1]
    files = {"files": [row["file"] for row in rows]}
    if len(rows) == 1:
        return rows[0] | files
    shares: dict[str, list[float]] = {}
    for row in rows:
        for prompt, share in row["per_prompt"].items():
            shares.setdefault(prompt, []).append(share)
    per_prompt = {prompt: float(np.mean(of)) for prompt, of in shares.items()}
    value, low, high = mean_interval(list(per_prompt.values()), bounds=bounds(rows[0]["metric"]))
    floors = [row["floor"] for row in rows if row["floor"] is not None]
    return (
        rows[0]
        | files
        | {
            "measured_on": rows[0]["topic"] if rows[0]["topic"] == rows[-1]["topic"] else f"{len(rows)} sets",
            "value": value,
            "low": low,
            "high": high,
            "floor": float(np.mean(floors)) if floors else None,
            "n": sum(row["n"] for row in rows),
            "prompts": len(per_prompt),
            "per_prompt": per_prompt,
            "sample": " ".join(row["sample"] for row in rows),
        }
    )
