"""How well the retriever knows labelled prompts: precision and recall of each value, by each backend there is.

    python -m value_retriever.benchmark

`benchmark.jsonl` has a line a prompt: `value` (null where none applies), `values` (where several harms do), `person`
(null where a harm settles it), and `half`: "dev", on which keywords may be tuned, or "test", on which they may not.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from diffusion_base.arguments import parse
from diffusion_base.errors import UserError, run
from diffusion_base.files import read_jsonl
from value_retriever.answer import RetrievedValue
from value_retriever.options import BackendName, BackendOptions
from value_retriever.retriever import ValueRetriever, automatic

SHIPPED = Path(__file__).parent / "benchmark.jsonl"
NEEDED = ("prompt", "value", "values", "person", "half")


@dataclass
class Arguments:
    """Measure the keywords alone, the offline default, and what else there is: a sentence encoder, an endpoint."""

    options: BackendOptions = field(default_factory=BackendOptions)
    half: Literal["test", "dev"] = "test"
    """Which half of the prompts; keywords may be tuned on dev alone."""
    file: Path = SHIPPED
    """Labelled prompts, in the form of value_retriever/benchmark.jsonl."""
    errors: bool = False
    """List the prompts of the dev half that were answered wrongly."""


@dataclass(frozen=True)
class Share:
    """How many of how many."""

    right: int
    of: int

    @property
    def value(self) -> float:
        return self.right / self.of if self.of else math.nan

    def __str__(self) -> str:
        """The share with its 95% interval (Wilson's)."""
        if not self.of:
            return "–"
        z2 = 1.96**2
        centre = (self.right + z2 / 2) / (self.of + z2)
        half = math.sqrt(z2 * (self.value * (1 - self.value) / self.of + z2 / 4 / self.of**2)) / (1 + z2 / self.of)
        return f"{self.value:.3f} [{max(centre - half, 0):.3f}, {min(centre + half, 1):.3f}]"


@dataclass(frozen=True)
class Measured:
    """One backend on one set of prompts.

    Attributes:
        precision, recall: per statement, and of "any harm".
        overall: share of prompts whose first value, or none, is the right one.
        person: share of the prompts without a harm of which the backend knows whether they are about people.
        failures: prompts at which the backend failed and the rule answered.
    """

    backend: str
    precision: dict[str, Share]
    recall: dict[str, Share]
    overall: Share
    person: Share
    failures: int
    seconds_a_thousand: float


def read_benchmark(file: Path = SHIPPED, half: str | None = None) -> list[dict]:
    """The labelled prompts of one half, or all.

    Raises:
        UserError: no such file, or a line without one of its fields.
    """
    rows = [row for row in read_jsonl(file, required=NEEDED) if half in (None, row["half"])]
    if not rows:
        raise UserError(f"{file} holds no prompts of the half {half!r}")
    return rows


def measure(name: str, rows: Sequence[dict], answers: Sequence[RetrievedValue], seconds: float = math.nan) -> Measured:
    """Compare answers with labels. Biases are compared by the first value, harms each for itself."""
    harms = {each for row, answer in zip(rows, answers, strict=True) for each in _harms(row, answer)}
    said = [_said(answer) for answer in answers]
    true = [set(row["values"]) for row in rows]
    precision, recall = {}, {}
    for statement in dict.fromkeys(each for each in [*sorted(harms), *sorted(set().union(*said, *true))]):
        both = sum(statement in s and statement in t for s, t in zip(said, true, strict=True))
        precision[statement] = Share(both, sum(statement in s for s in said))
        recall[statement] = Share(both, sum(statement in t for t in true))
    both = sum(bool(s & harms) and bool(t & harms) for s, t in zip(said, true, strict=True))
    precision["any harm"] = Share(both, sum(bool(s & harms) for s in said))
    recall["any harm"] = Share(both, sum(bool(t & harms) for t in true))
    people = [(row, answer) for row, answer in zip(rows, answers, strict=True) if row["person"] is not None]
    return Measured(
        backend=name,
        precision=precision,
        recall=recall,
        overall=Share(
            sum(answer.statement == row["value"] for row, answer in zip(rows, answers, strict=True)), len(rows)
        ),
        person=Share(sum(answer.person == row["person"] for row, answer in people), len(people)),
        failures=sum(bool(answer.failure) for answer in answers),
        seconds_a_thousand=1000 * seconds / len(rows),
    )


def _said(answer: RetrievedValue) -> set[str]:
    if answer.statement is None:
        return set()
    return set(answer.statements) if answer.kind == "harm" else {answer.statement}


def _harms(row: dict, answer: RetrievedValue) -> list[str]:
    of_answer = list(answer.statements) if answer.kind == "harm" else []
    return of_answer + (row["values"] if row["person"] is None else [])


def in_a_table(measured: Measured) -> str:
    """The figures of a backend for people."""
    lines = [[measured.backend, "precision", "recall", "prompts"]]
    for statement, precision in measured.precision.items():
        recall = measured.recall[statement]
        lines.append([statement, str(precision), str(recall), str(recall.of)])
    if measured.backend != "keywords alone":
        lines.append(["right value or none", str(measured.overall), "", str(measured.overall.of)])
        lines.append(["person or not", str(measured.person), "", str(measured.person.of)])
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    text = "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)
    failed = f", {measured.failures} failures" if measured.failures else ""
    return f"{text}\n{measured.seconds_a_thousand:.2f} s a thousand prompts{failed}"


def main(argv: Sequence[str] | None = None) -> list[Measured]:
    arguments = parse(Arguments, argv, prog="benchmark.py")
    rows = read_benchmark(arguments.file, arguments.half)
    if arguments.errors and arguments.half == "test":
        raise UserError("--errors lists the mistakes of the dev half; nothing may be tuned on the test half")
    options = arguments.options
    named: dict[BackendName, str] = {"none": "keywords alone", "rule": "keywords, then the rule (offline default)"}
    found = automatic(options) if options.backend == "auto" else options.backend
    named |= {} if found in named else {found: f"keywords, then {found}"}
    results = []
    for backend, name in named.items():
        retriever = ValueRetriever.from_options(replace(options, backend=backend))
        start = time.perf_counter()
        answers = retriever.retrieve_many([row["prompt"] for row in rows])
        results.append(measure(name, rows, answers, time.perf_counter() - start))
        print(in_a_table(results[-1]), *([retriever.summary] if retriever.summary else []), "", sep="\n")
        if arguments.errors:
            for row, answer in zip(rows, answers, strict=True):
                wrong = _said(answer) != set(row["values"]) if backend != "none" else _missed(row, answer)
                if wrong:
                    print(f"  {row['prompt']!r}: {row['values']}, not {list(answer.statements)} ({answer.reason})")
    return results


def _missed(row: dict, answer: RetrievedValue) -> bool:
    return row["person"] is None and _said(answer) != set(row["values"])


if __name__ == "__main__":
    run(main)
