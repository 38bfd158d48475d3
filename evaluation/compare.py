"""Compare runs of several methods on every axis: one table, one report.

    python -m evaluation.compare runs/base runs/livo --output_dir runs/report

Each run is a folder that was given as --save_path; the first is what the others are compared with, prompt by prompt.
Runs of one method that differ in the training seed are one method, whose intervals hold prompts and seeds.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Annotated

import tyro

from diffusion_base.arguments import parse
from diffusion_base.errors import run
from diffusion_base.files import write_text
from evaluation.report.accuracy import accuracy_of_judges
from evaluation.report.album import Album
from evaluation.report.axes import across_axes
from evaluation.report.page import Comparison, write_report
from evaluation.report.paired import compare_runs, warnings
from evaluation.report.runs import provenance, read_runs
from evaluation.report.seeds import by_method
from evaluation.report.tables import as_csv, as_json, markdown
from evaluation.report.wording import listed


@dataclass
class Arguments:
    """Compare runs of several methods on every axis."""

    runs: tyro.conf.Positional[list[Path]]
    """Folders that were given as --save_path, two or more; the others are compared with the first. Those of one method
    whose training seeds differ are taken together."""
    output_dir: Path
    """Where report.html, comparison.md, comparison.csv and comparison.json go."""
    name: Annotated[list[str], tyro.conf.UseAppendAction] = field(default_factory=list)
    """What a run's method is called; once for each run, in their order. By default what its figures call it."""
    title: str | None = None
    """The report's heading."""
    intro: str = ""
    """A few words below it: what was done."""


def compare(
    folders: Sequence[str | Path],
    output_dir: str | Path,
    *,
    names: Sequence[str] = (),
    title: str | None = None,
    intro: str = "",
    charts: Mapping[str, Path] | None = None,
) -> Comparison:
    """Compare runs and write comparison.json, comparison.csv, comparison.md and report.html.

    Args:
        folders: of the runs, each what one method left in one `save_path` of `evaluate`; two or more, of which the
            others are compared with the first. Several of one method are of its training seeds.
        names: what the runs' methods are called; by default what their figures call them.
        charts: PNG files that the report shows besides, by their titles.

    Raises:
        UserError: runs that cannot be read or compared, or a picture is missing or broken.
    """
    runs, out = read_runs([Path(folder) for folder in folders], names), Path(output_dir)
    of_methods = by_method(runs)
    rows, methods = compare_runs(of_methods), [run.name for run in of_methods]
    found = Comparison(
        title=title or titled(methods),
        intro=intro,
        methods=methods,
        rows=rows,
        columns=across_axes(of_methods),
        judges=accuracy_of_judges(of_methods),
        warnings=warnings(rows),
        provenance=provenance(runs),
        charts=charts or {},
    )
    write_report(out / "report.html", found, Album(runs))
    write_text(out / "comparison.md", markdown(found))
    write_text(out / "comparison.csv", as_csv(found))
    write_text(out / "comparison.json", as_json(found))
    return found


def titled(methods: Sequence[str]) -> str:
    if len(methods) == 1:
        return f"{methods[0]}, trained with several seeds"
    return f"{listed(methods[1:]) if len(methods) < 5 else 'Methods'} against {methods[0]}"


def main(argv: Sequence[str] | None = None) -> Comparison:
    arguments = parse(Arguments, argv, prog="python -m evaluation.compare", description=__doc__)
    found = compare(
        arguments.runs, arguments.output_dir, names=arguments.name, title=arguments.title, intro=arguments.intro
    )
    print(markdown(found, short=True))
    print(f"report: {(arguments.output_dir / 'report.html').resolve()}")
    return found


class _Callable(ModuleType):
    """Once imported, this module is what `evaluation.compare` means: so it can be called, as `compare`."""

    __call__ = staticmethod(compare)


sys.modules[__name__].__class__ = _Callable
__signature__ = signature(compare)

if __name__ == "__main__":
    run(main)
