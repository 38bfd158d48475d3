"""Compare runs of several methods on every axis: one table, one report.

    python -m evaluation.compare runs/base runs/livo --output_dir runs/report

Each run is a folder that was given as --save_path; the first is what the others are compared with, prompt by prompt.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from diffusion_base.arguments import parse
from diffusion_base.errors import run
from diffusion_base.files import write_text
from evaluation.report.album import Album
from evaluation.report.axes import across_axes
from evaluation.report.judging import judged_judges
from evaluation.report.page import Comparison, write_report
from evaluation.report.paired import COMPARED, compare_runs
from evaluation.report.provenance import provenance
from evaluation.report.runs import read_runs
from evaluation.report.tables import markdown
from evaluation.report.wording import listed

FEW = 6  # prompts: that five all change to the same side happens by chance once in sixteen times
FIELDS = (
    *("metric", "measured_on", "judge", "version", "threshold", "method"),
    *("value", "low", "high", "floor", "n", "prompts", *COMPARED, "warning"),
)


@dataclass
class Arguments:
    """Compare runs of several methods on every axis."""

    runs: tyro.conf.Positional[list[Path]]
    """Folders that were given as --save_path, two or more; the others are compared with the first."""
    output_dir: Path
    """Where report.html, comparison.md, comparison.csv and comparison.json go."""
    name: Annotated[list[str], tyro.conf.UseAppendAction] = field(default_factory=list)
    """What a run's method is called; once for each run, in their order. By default what its figures call it."""
    title: str | None = None
    """The report's heading."""
    intro: str = ""
    """A few words below it: what was done."""


def compare(
    folders: Sequence[Path],
    output_dir: Path,
    *,
    names: Sequence[str] = (),
    title: str | None = None,
    intro: str = "",
) -> Comparison:
    """Compare runs and write comparison.json, comparison.csv, comparison.md and report.html.

    Raises:
        UserError: runs that cannot be read or compared, or a picture is missing or broken.
    """
    runs = read_runs(folders, names)
    rows, columns = compare_runs(runs), across_axes(runs)
    methods = [run.name for run in runs]
    found = Comparison(
        title=title or f"{listed(methods[1:]) if len(methods) < 5 else 'Methods'} against {methods[0]}",
        intro=intro,
        methods=methods,
        rows=rows,
        columns=columns,
        judges=judged_judges(runs),
        warnings=warnings(rows),
        provenance=provenance(runs),
    )
    output_dir.mkdir(parents=True, exist_ok=True)
    write_report(output_dir / "report.html", found, Album(runs))
    write_text(output_dir / "comparison.md", markdown(found))
    write_text(output_dir / "comparison.json", _json(found))
    with (output_dir / "comparison.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, FIELDS)
        table.writeheader()
        table.writerows({key: row.get(key) for key in FIELDS} for row in rows)
    return found


def warnings(rows: Sequence[dict]) -> list[str]:
    """What makes figures or marks less sure than they look, a sentence each."""
    found = [row["warning"] for row in rows if row["warning"]]
    tested = [row for row in rows if row["difference"] is not None]
    few = [row["measured_on"] for row in tested if row["prompts"] < FEW]
    if few:
        found.append(f"{', '.join(dict.fromkeys(few))}: fewer than {FEW} prompts, which say little about others")
    if len(tested) > 20:
        found.append(
            f"Of the {len(tested)} comparisons here, about {round(len(tested) / 20)} would be marked by chance if "
            "nothing differed"
        )
    return [f"{text}." for text in dict.fromkeys(found)]


def _json(found: Comparison) -> str:
    return json.dumps(
        {
            "methods": found.methods,
            "compared_with": found.first,
            "axes": [
                {"axis": column.axis, "metric": column.metric, "topic": column.topic, "rows": _plain(column.rows)}
                for column in found.columns
            ],
            "figures": _plain(found.rows),
            "judges": found.judges,
            "warnings": found.warnings,
            "provenance": found.provenance,
        },
        indent=1,
        ensure_ascii=False,
    )


def _plain(rows: Sequence[dict]) -> list[dict]:
    return [{key: row.get(key) for key in FIELDS} for row in rows]


def main(argv: Sequence[str] | None = None) -> Comparison:
    arguments = parse(Arguments, argv, prog="python -m evaluation.compare", description=__doc__)
    found = compare(
        arguments.runs, arguments.output_dir, names=arguments.name, title=arguments.title, intro=arguments.intro
    )
    print(markdown(found, short=True))
    print(f"report: {(arguments.output_dir / 'report.html').resolve()}")
    return found


if __name__ == "__main__":
    run(main)
