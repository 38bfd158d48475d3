"""Which pictures a report shows: prompts with the methods above one another, each column from one seed."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.report.axes import Column
from evaluation.report.paired import Row
from evaluation.report.runs import Run

COLUMNS = 8  # seeds of a prompt, fewer where they would make more than
STRIP = 32  # pictures of it
PICTURES = 500  # in a report, at most
WORST = 12  # prompts, shared among the metrics, and no more than three of each


@dataclass(frozen=True)
class Strip:
    """One prompt of a set: per method a picture a seed, None where it has none."""

    of: str
    prompt: str
    rows: dict[str, list[Path | None]]
    harmful: bool
    seeded: bool = True
    """Whether the seeds are known; else a column holds the pictures of one number."""

    @property
    def width(self) -> int:
        return max(map(len, self.rows.values()))

    @property
    def count(self) -> int:
        return sum(file is not None for files in self.rows.values() for file in files)


@dataclass(frozen=True)
class WorstPrompt:
    """A prompt with the methods' figures, and its pictures unless they were given out already (`above`)."""

    prompt: str
    figures: dict[str, float]
    strip: Strip | None
    above: bool


@dataclass(frozen=True)
class Worst:
    """Prompts of a metric at which a method does worst."""

    column: Column
    prompts: list[WorstPrompt]


class Album:
    """Gives each prompt's pictures out once, and no more than PICTURES in all."""

    def __init__(self, runs: Sequence[Run]):
        self.first = runs[0].name
        self.pictures: dict[str, dict[str, dict[str, list[tuple[Path, dict]]]]] = {}  # by set, prompt and method
        self.prompts_with: dict[tuple[str, str], dict[str, None]] = {}  # by set and any text of a record
        for run in runs:
            for name, pictures in run.pictures.items():
                for path, record in pictures:
                    of_prompt = self.pictures.setdefault(name, {}).setdefault(record["prompt"], {})
                    of_prompt.setdefault(run.label, []).append((path, record))
                    for text in filter(lambda value: isinstance(value, str), record.values()):
                        self.prompts_with.setdefault((name, text), {})[record["prompt"]] = None
        self.given: set[tuple[str, str]] = set()
        self.left = PICTURES
        self.harmful = {figure.subject.pictures for run in runs for figure in run.figures if figure.kind.axis == "harm"}

    def give_out(self, name: str, at_most: int, prompts: Iterable[str] | None = None) -> list[Strip]:
        """The strips of a set's first prompts, or of the first of these, that were not given out yet."""
        taken: list[Strip] = []
        for prompt in self.pictures[name] if prompts is None else prompts:
            if len(taken) == at_most:
                break
            if (name, prompt) not in self.given:
                strip = self._strip(name, prompt)
                if strip.count <= self.left:
                    self.given.add((name, prompt))
                    self.left -= strip.count
                    taken.append(strip)
        return taken

    def worst(self, columns: Sequence[Column]) -> list[Worst]:
        """For each column the prompts at which a method that is compared with the first does worst."""
        compared = [(column, [row for row in column.rows if row.method != self.first]) for column in columns]
        compared = [(column, rows) for column, rows in compared if rows and all(row.figure.worst for row in rows)]
        at_most = max(1, min(3, WORST // max(1, len(compared))))
        found = [Worst(column, self._worst(column, rows, at_most)) for column, rows in compared]
        return [worst for worst in found if worst.prompts]

    def _worst(self, column: Column, rows: Sequence[Row], at_most: int) -> list[WorstPrompt]:
        metric = column.metric
        perfect = 0.0 if metric.signed else metric.bounds[metric.direction == 1]
        worst: dict[str, float] = {}
        for row in rows:
            for unit, value in (pair for of in row.figure.each_seed for pair in of.per_unit.items()):
                if value != perfect:
                    worst[unit] = max(metric.fault(value), worst.get(unit, -math.inf))
        names = [name for name in dict.fromkeys(rows[0].sets) if name in self.pictures]
        if metric.axis != "harm":  # there, pictures that need no blurring tell more
            names = [name for name in names if name not in self.harmful] or names
        units = [unit for unit in worst if any((name, unit) in self.prompts_with for name in names)] or list(worst)
        found = []
        for unit in sorted(units, key=lambda unit: -worst[unit])[:at_most]:
            values = {row.method: row.figure.per_unit[unit] for row in column.rows if unit in row.figure.per_unit}
            # the unit is a prompt, or what several have in common, such as an occupation
            prompts = [(name, prompt) for name in names for prompt in self.prompts_with.get((name, unit), ())]
            above = any(given in self.given for given in prompts)
            strips = [
                strip for name, prompt in prompts[: 0 if above else 1] for strip in self.give_out(name, 1, [prompt])
            ]
            found.append(WorstPrompt(unit, values, strips[0] if strips else None, above))
        return found

    def _strip(self, name: str, prompt: str) -> Strip:
        found = {
            method: {record.get("seed", i): (path, record) for i, (path, record) in enumerate(pictures)}
            for method, pictures in self.pictures[name][prompt].items()
        }
        seeds = list(dict.fromkeys(seed for own in found.values() for seed in own))
        # where half of the pictures have the value, the others show nothing of the method
        changed = {seed for own in found.values() for seed, (_, record) in own.items() if record.get("value_applied")}
        seeds = [seed for seed in seeds if not changed or seed in changed]
        seeds = seeds[: max(1, min(COLUMNS, STRIP // len(found)))]
        rows = {method: [own[seed][0] if seed in own else None for seed in seeds] for method, own in found.items()}
        seeded = all("seed" in record for own in found.values() for _, record in own.values())
        return Strip(name, prompt, rows, name in self.harmful, seeded)
