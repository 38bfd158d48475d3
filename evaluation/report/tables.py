"""A comparison as Markdown: the table of all axes, every figure, the judges, and what made them."""

from collections.abc import Sequence

from evaluation.figures.from_scores import by
from evaluation.report.page import Comparison, reading
from evaluation.report.wording import MARKS, chance, change, largest_biases, limits, number, signed


def markdown(of: Comparison, *, short: bool = False) -> str:
    """The comparison; `short` is the table of all axes and the warnings alone."""
    parts = [f"# {of.title}", of.intro, _axes(of), "\n".join(f"- {warning}" for warning in of.warnings)]
    if not short:
        parts += [
            "## Every figure",
            f"Differences are to {of.first}, prompt by prompt on the same seeds (where these are known); *better* is "
            "the confidence that the method is the better one. Brackets hold 95% intervals over prompts.",
            _figures(of),
        ]
        if of.judges:
            parts += ["## Judges judged", _judges(of)]
        parts += ["## What made this", "\n".join(f"- **{label}**: {text}" for label, text in of.provenance.items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def _axes(of: Comparison) -> str:
    lines = [["", *(", ".join(filter(None, [reading(c.metric)[0], c.topic])) for c in of.columns)]]
    for method in of.methods:
        cells = ({row["method"]: row for row in column.rows}.get(method) for column in of.columns)
        lines.append([method, *(_cell(row) if row else "" for row in cells)])
    return table(lines) if of.columns else ""


def _cell(row: dict) -> str:
    return " ".join(filter(None, [number(row), limits(row), MARKS[row["verdict"]]]))


def _figures(of: Comparison) -> str:
    lines = [["metric", "measured on", "judge", "method", "figure", "fair", "pictures", "difference", "better", ""]]
    for rows in by(of.rows, "metric", "measured_on", "judge"):
        for row in rows:
            named = [row[key] for key in ("metric", "measured_on", "judge", "method")]
            floor = "" if row["floor"] is None else f"{row['floor']:.2f}"
            figure = f"{number(row)} {limits(row)}".strip()
            lines.append([*named, figure, floor, str(row["n"]), change(row), chance(row), MARKS[row["verdict"]]])
    return table(lines)


def _judges(of: Comparison) -> str:
    lines = [["question", "judge", "pictures of", "pictures", "accuracy", "its own bias, the largest first"]]
    for row in of.judges:
        biases = ", ".join(f"{label} {signed(bias, 3)}" for label, bias, _, _ in largest_biases(row))
        judge = f"{row['judge']} {row['version']}"
        lines.append([row["question"], judge, row["method"], str(row["n"]), f"{row['accuracy']:.3f}", biases])
    return table(lines)


def table(lines: Sequence[Sequence[str]]) -> str:
    """Markdown's table; the first line is the heading."""
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([rows[0], "|" + " --- |" * len(lines[0]), *rows[1:]])
