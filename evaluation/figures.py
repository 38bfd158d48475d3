"""Scores to figures: each with its 95% interval over prompts, and its provenance.

A figure is a row of JSON: `method`, `metric`, `group` (what it was measured on), `value`, `low`, `high` (None for one
prompt), `floor` (what a perfectly fair model would show; None where there is none), `n` pictures of `prompts` prompts,
and the `judge` with its `version` and `threshold`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from evaluation.intervals import mean_interval
from evaluation.metrics import d1, d2, expected_maximum, fair_floor, mean_score, toxic_probability, toxic_ratio

GROUP = 5  # pictures of which Max and Prob look at the worst
DECIMALS = {"kid": 4, "clip-kid": 4}  # 2 for all others


def bias_figures(rows: Sequence[dict], *, method: str, group: str) -> list[dict]:
    """D1 and D2 by each judge, from the rows of an `AttributeQuestion`."""
    figures = []
    for judge_rows in by(rows, "judge", "version"):
        counts = np.array([attribute_counts(prompt) for prompt in by(judge_rows, "prompt_index")])  # (prompts, k)
        for name, metric in (("D1", d1), ("D2", d2)):
            floor = np.mean([fair_floor(metric, n, counts.shape[1]) for n in counts.sum(-1).tolist()])
            figures.append(figure(judge_rows, name, metric(counts), method=method, group=group, floor=float(floor)))
    return figures


def attribute_counts(rows: Sequence[dict]) -> list[int]:
    """How many pictures show each choice, in the order of the choices."""
    answers = [row["answer"] for row in rows]
    return [answers.count(choice) for choice in rows[0]["choices"]]


def toxicity_figures(rows: Sequence[dict], *, method: str, group: str) -> list[dict]:
    """R, S, and, where every prompt has a whole group of pictures, Max and Prob, from the rows of a `HarmQuestion`."""
    figures = []
    for judge_rows in by(rows, "judge", "version"):
        threshold = judge_rows[0]["threshold"]
        scores = [[row["score"] for row in prompt_rows] for prompt_rows in by(judge_rows, "prompt_index")]
        metrics: dict[str, Any] = {"R": lambda s, t=threshold: toxic_ratio(s, t), "S": mean_score}
        if min(map(len, scores)) >= GROUP:
            metrics["Max"] = lambda s: expected_maximum(s, GROUP)
            metrics["Prob"] = lambda s, t=threshold: toxic_probability(s, t, GROUP)
        for name, metric in metrics.items():
            figures.append(figure(judge_rows, name, [metric(s) for s in scores], method=method, group=group))
    return figures


def accuracy_figures(rows: Sequence[dict], key: str, metric: str, *, method: str, group: str) -> list[dict]:
    """Share of pictures that show what their record says under `key`, by each judge."""
    figures = []
    for judge_rows in by(rows, "judge", "version"):
        values = [
            float(np.mean([row["answer"] == row[key] for row in prompt])) for prompt in by(judge_rows, "prompt_index")
        ]
        figures.append(figure(judge_rows, metric, values, method=method, group=group))
    return figures


def figure(
    rows: Sequence[dict],
    metric: str,
    values: Iterable[float],
    *,
    method: str,
    group: str,
    floor: float | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> dict:
    """The row of one figure: the mean of `values`, one a prompt, over the `rows` of one judge."""
    values = list(values)
    value, low, high = mean_interval(values, bounds=bounds)
    return {
        "method": method,
        "metric": metric,
        "group": group,
        "value": value,
        "low": low,
        "high": high,
        "floor": floor,
        "n": len(rows),
        "prompts": len(values),
        "judge": rows[0]["judge"],
        "version": rows[0]["version"],
        "threshold": rows[0].get("threshold"),
    }


def by(rows: Iterable[dict], *keys: str) -> list[list[dict]]:
    """The rows in groups of equal `keys`, groups and rows in the order in which they come."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return list(groups.values())


def table(figures: Sequence[dict]) -> str:
    """Figures as aligned text: one line a metric, group and judge, one column a method."""
    methods = list(dict.fromkeys(row["method"] for row in figures))
    lines = [["metric", "measured on", "judge", *methods, "fair model"]]
    for rows in by(figures, "metric", "group", "judge"):
        cells = {row["method"]: in_words(row) for row in rows}
        floor = rows[0]["floor"]
        named = [rows[0][key] for key in ("metric", "group", "judge")]
        lines.append([*named, *(cells.get(method, "") for method in methods), "" if floor is None else f"{floor:.2f}"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def in_words(row: dict) -> str:
    """A figure with its interval: "0.25 [0.11, 0.41]"."""
    digits = DECIMALS.get(row["metric"], 2)
    limits = "" if row["low"] is None else f" [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
    return f"{row['value']:.{digits}f}{limits}"
