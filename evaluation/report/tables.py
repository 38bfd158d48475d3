"""A comparison as Markdown, as CSV and as JSON: the table of all axes, every figure, the judges, and what made them."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from evaluation.figures.stored import seed_fields, to_row
from evaluation.report.page import Comparison
from evaluation.report.paired import Change, Row
from evaluation.report.wording import (
    chance,
    difference,
    difference_of,
    limits,
    mark,
    number,
    past_limit,
    seeds,
    signed,
    worst,
)

FIELDS = (
    *("metric", "measured_on", "judge", "version", "threshold", "method"),
    *("value", "low", "high", "floor", "n", "prompts"),
    *("difference", "difference_low", "difference_high", "probability", "verdict", "warning"),
    *("unit", "worst_unit", "worst_value", "limit", "past_limit"),
    *("seeds", "seed_values", "seed_spread", "worst_seed", "worst_seed_value", "worst_unit_seed"),
    *("past_difference", "past_difference_low", "past_difference_high", "past_probability", "past_verdict"),
)


def markdown(of: Comparison, *, short: bool = False) -> str:
    """The comparison; `short` is the table of all axes and the warnings alone."""
    parts = [f"# {of.title}", of.intro, _axes(of), "\n".join(f"- {warning}" for warning in of.warnings)]
    if not short:
        parts += [
            "## Every figure",
            f"Differences are to {of.first}, prompt by prompt on the same seeds (where these are known); *better* is "
            "the confidence that the method is the better one. Brackets hold 95% intervals over prompts, and over "
            "training seeds where a method has several: its figures are means over these. *Worst* is the prompt (or "
            "occupation) that does worst, *past the limit* how many are above what one should be, each of all seeds.",
            _figures(of),
        ]
        if of.judges:
            parts += ["## Accuracy of the judges", _judges(of)]
        parts += ["## What made this", "\n".join(f"- **{label}**: {text}" for label, text in of.provenance.items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def _axes(of: Comparison) -> str:
    lines = [["", *(", ".join(filter(None, [column.metric.title, column.topic])) for column in of.columns)]]
    for method in of.methods:
        cells = ({row.method: row for row in column.rows}.get(method) for column in of.columns)
        lines.append([method, *(_cell(row) if row else "" for row in cells)])
    return table(lines) if of.columns else ""


def _cell(row: Row) -> str:
    figure = row.figure
    parts = [" ".join(filter(None, [number(figure), limits(figure), mark(row.change)])), seeds(figure)]
    if figure.past is not None:
        parts.append(f"worst {worst(figure)}")
        parts.append(" ".join(filter(None, [past_limit(figure), mark(row.past_change)])))
    return "; ".join(filter(None, parts))


def _figures(of: Comparison) -> str:
    headings = ("metric", "measured on", "judge", "method", "figure", "fair", "pictures", "difference", "better", "")
    lines = [[*headings, "worst", "past the limit", "difference of these shares", ""]]
    for row in of.rows:
        figure = row.figure
        lines.append(
            [
                *(figure.metric, row.measured_on, figure.judge, figure.method),
                *(
                    " ".join(filter(None, [number(figure), limits(figure), seeds(figure)])),
                    "" if figure.floor is None else f"{figure.floor:.2f}",
                ),
                *(str(figure.n), difference_of(row), chance(row.change), mark(row.change)),
                *(worst(figure), past_limit(figure), difference(row.past_change), mark(row.past_change)),
            ]
        )
    return table(lines)


def _judges(of: Comparison) -> str:
    lines = [["question", "judge", "pictures of", "pictures", "accuracy", "its own bias, the largest first"]]
    for one in of.judges:
        biases = ", ".join(f"{label} {signed(bias, 3)}" for label, bias, _, _ in one.largest_biases())
        judge = f"{one.judge} {one.version}"
        lines.append([one.question, judge, one.method, str(one.n), f"{one.accuracy:.3f}", biases])
    return table(lines)


def table(lines: Sequence[Sequence[str]]) -> str:
    """Markdown's table; the first line is the heading."""
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([rows[0], "|" + " --- |" * len(lines[0]), *rows[1:]])


def flat(row: Row) -> dict[str, Any]:
    """A row as JSON and CSV have it."""
    found = to_row(row.figure) | seed_fields(row.figure) | {"measured_on": row.measured_on}
    for change, prefix in ((row.change, ""), (row.past_change, "past_")):
        found |= _flat_change(change, prefix)
    return {key: found[key] for key in FIELDS}


def _flat_change(change: Change | None, prefix: str) -> dict[str, Any]:
    return {
        f"{prefix}difference": change and change.value,
        f"{prefix}difference_low": change and change.low,
        f"{prefix}difference_high": change and change.high,
        f"{prefix}probability": change and change.probability,
        f"{prefix}verdict": None if change is None else change.verdict,
    }


def as_csv(of: Comparison) -> str:
    file = io.StringIO(newline="")
    lines = csv.DictWriter(file, FIELDS)
    lines.writeheader()
    lines.writerows(map(flat, of.rows))
    return file.getvalue()


def as_json(of: Comparison) -> str:
    content = {
        "methods": of.methods,
        "compared_with": of.first,
        "axes": [
            {
                "axis": column.metric.axis,
                "metric": column.metric.name,
                "topic": column.topic,
                "rows": [flat(row) for row in column.rows],
            }
            for column in of.columns
        ],
        "figures": [flat(row) for row in of.rows],
        "judges": [asdict(one) for one in of.judges],
        "warnings": of.warnings,
        "provenance": of.provenance,
    }
    return json.dumps(content, indent=1, ensure_ascii=False)
