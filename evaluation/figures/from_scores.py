"""Scores to figures: each with its 95% interval over prompts, and its provenance.

A figure is a row of JSON: `method`, `metric`, `group` (what it was measured on), `value`, `low`, `high` (None for one
prompt), `floor` (what a perfectly fair model would show; None where there is none), `n` pictures of `prompts` prompts,
the `judge` with its `version` and `threshold`, and what a paired comparison needs: `per_prompt`, {prompt: its share},
whose mean is the value, and `sample`, the same for two figures only where all prompts and seeds are. Where a protocol
made the pictures, `interventions` are those that the command line named. Where it takes several prompts together
(WinoBias: those of an occupation), that `unit` takes the prompt's place in all of this.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from diffusion_base.identity import json_hash
from evaluation.figures.formulas import (  # fmt: skip
    CountMetric,
    d1,
    d2,
    deviation_ratio,
    expected_maximum,
    fair_floor,
    mean_score,
    parity_difference,
    toxic_probability,
    toxic_ratio,
)
from evaluation.figures.intervals import mean_interval

GROUP = 5  # pictures of which Max and Prob look at the worst
DECIMALS = {"kid": 4, "clip-kid": 4}  # 2 for all others
BIASES: dict[str, CountMetric] = {"D1": d1, "D2": d2, "deviation ratio": deviation_ratio}


def bias_figures(rows: Sequence[dict], *, method: str, group: str, unit: str = "prompt") -> list[dict]:
    """D1, D2, the deviation ratio and each choice's parity difference by each judge.

    Args:
        rows: of an `AttributeQuestion`.
        unit: the key of what is counted as one and averaged over, as in `figure`.
    """
    figures = []
    for judge_rows in by(rows, "judge", "version"):
        choices = judge_rows[0]["choices"]
        k, of = len(choices), partial(figure, judge_rows, method=method, group=group, unit=unit)
        for name, metric in BIASES.items():
            floor = np.mean([fair_floor(metric, len(pictures), k) for pictures in by(judge_rows, unit)])
            figures.append(of(name, partial(_bias, metric), floor=float(floor)))
        for i, choice in enumerate(choices):
            bounds = (-1 / k, 1 - 1 / k)
            figures.append(of(f"parity difference for {choice}", partial(_parity_difference, i), bounds=bounds))
    return figures


def _bias(metric: CountMetric, rows: Sequence[dict]) -> float:
    return float(metric(attribute_counts(rows)))


def _parity_difference(choice: int, rows: Sequence[dict]) -> float:
    return float(parity_difference(attribute_counts(rows))[choice])


def attribute_counts(rows: Sequence[dict]) -> list[int]:
    """How many pictures show each choice, in the order of the choices."""
    answers = [row["answer"] for row in rows]
    return [answers.count(choice) for choice in rows[0]["choices"]]


def toxicity_figures(rows: Sequence[dict], *, method: str, group: str) -> list[dict]:
    """R, S, and, where every prompt has a whole group of pictures, Max and Prob, from the rows of a `HarmQuestion`."""
    figures = []
    for judge_rows in by(rows, "judge", "version"):
        threshold = judge_rows[0]["threshold"]
        metrics: dict[str, Callable] = {"R": partial(toxic_ratio, threshold=threshold), "S": mean_score}
        if min(map(len, by(judge_rows, "prompt"))) >= GROUP:
            metrics["Max"] = partial(expected_maximum, group=GROUP)
            metrics["Prob"] = partial(toxic_probability, threshold=threshold, group=GROUP)
        for name, metric in metrics.items():
            figures.append(figure(judge_rows, name, partial(_harm, metric), method=method, group=group))
    return figures


def _harm(metric: Callable, rows: Sequence[dict]) -> float:
    return float(metric([row["score"] for row in rows]))


def accuracy_figures(rows: Sequence[dict], key: str, metric: str, *, method: str, group: str) -> list[dict]:
    """Share of pictures that show what their record says under `key`, by each judge."""
    return [
        figure(judge_rows, metric, partial(_share_right, key), method=method, group=group)
        for judge_rows in by(rows, "judge", "version")
    ]


def _share_right(key: str, rows: Sequence[dict]) -> float:
    return float(np.mean([row["answer"] == row[key] for row in rows]))


def figure(
    rows: Sequence[dict],
    metric: str,
    of_prompt: Callable[[list[dict]], float],
    *,
    method: str,
    group: str,
    floor: float | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    unit: str = "prompt",
) -> dict:
    """The row of one figure: the mean over prompts of `of_prompt`, from the `rows` of one judge.

    Args:
        unit: the rows' key that takes the prompt's place, e.g. "occupation".
    """
    per_prompt = {pictures[0][unit]: float(of_prompt(pictures)) for pictures in by(rows, unit)}
    value, low, high = mean_interval(list(per_prompt.values()), bounds=bounds)
    return {
        "method": method,
        "metric": metric,
        "group": group,
        "value": value,
        "low": low,
        "high": high,
        "floor": floor,
        "n": len(rows),
        "prompts": len(per_prompt),
        "unit": unit,
        "judge": rows[0]["judge"],
        "version": rows[0]["version"],
        "threshold": rows[0].get("threshold"),
        "sample": sample_key((row["prompt"], row.get("seed")) for row in rows),
        "per_prompt": per_prompt,
    }


def sample_key(pictures: Iterable[tuple[str, int | None]]) -> str:
    """16 hex digits that stand for the prompts and seeds of pictures, in any order."""
    return json_hash(sorted(map(str, pictures)))


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
