"""Which pictures a report shows: prompts with the methods above one another, each column from one seed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.axes import Column
from evaluation.metric_kinds import OF_WHOLE_SETS, direction
from evaluation.runs import Run

COLUMNS = 8  # seeds of a prompt
PICTURES = 500  # in a report, at most


@dataclass(frozen=True)
class Strip:
    """One prompt of a set: per method a picture a seed, None where it has none."""

    of: str
    prompt: str
    seeds: Sequence[int | None]
    rows: dict[str, list[Path | None]]
    harmful: bool

    @property
    def count(self) -> int:
        return sum(file is not None for files in self.rows.values() for file in files)


@dataclass(frozen=True)
class Worst:
    """The prompts of a column at which a method is worst: the methods' figures, and the pictures if not shown yet."""

    column: Column
    prompts: list[tuple[str, dict[str, float], list[Strip]]]


class Album:
    """Gives each prompt's pictures out once, and no more than PICTURES in all."""

    def __init__(self, runs: Sequence[Run]):
        self.runs = runs
        self.sets = list(dict.fromkeys(name for run in runs for name in run.pictures))
        self.given: set[tuple[str, str]] = set()
        self.left = PICTURES
        files = {row["file"] for run in runs for row in run.figures if row["metric"] == "R"}
        self.harmful = {self.set_of(file) for file in files}

    def set_of(self, file: str) -> str | None:
        """The set that a figures' file is about: bias_gender_career for quality_bias_gender_career."""
        return max((name for name in self.sets if name in file), key=len, default=None)

    def prompts(self, name: str) -> list[str]:
        return list(dict.fromkeys(record["prompt"] for run in self.runs for _, record in run.pictures.get(name, ())))

    def take(self, name: str, prompts: Iterable[str], at_most: int) -> list[Strip]:
        """The strips of a set's prompts that were not given out yet."""
        taken: list[Strip] = []
        for prompt in prompts:
            if len(taken) == at_most:
                break
            strip = self._strip(name, prompt)
            if (name, prompt) not in self.given and 0 < strip.count <= self.left:
                self.given.add((name, prompt))
                self.left -= strip.count
                taken.append(strip)
        return taken

    def _strip(self, name: str, prompt: str) -> Strip:
        found = {
            run.name: {
                record.get("seed", i): (path, record)
                for i, (path, record) in enumerate(run.pictures[name])
                if record["prompt"] == prompt
            }
            for run in self.runs
            if name in run.pictures
        }
        seeds = list(dict.fromkeys(seed for own in found.values() for seed in own))
        # where half of the pictures have the value, the others show nothing of the method
        changed = [
            seed for seed in seeds if any(own[seed][1].get("value_applied") for own in found.values() if seed in own)
        ]
        seeds = (changed or seeds)[:COLUMNS]
        rows = {method: [own[seed][0] if seed in own else None for seed in seeds] for method, own in found.items()}
        return Strip(name, prompt, seeds, rows, name in self.harmful)

    def worst(self, columns: Sequence[Column]) -> list[Worst]:
        """For each column the prompts at which a method that is compared with the first does worst."""
        shown = [column for column in columns if _has_worst(column)]
        at_most = max(1, min(3, 12 // max(1, len(shown))))
        found = []
        for column in shown:
            first, *rows = column.rows
            way = direction(first)
            assert way is not None
            worst = {unit: min(way * row["per_prompt"][unit] for row in rows) for unit in rows[0]["per_prompt"]}
            names = list(dict.fromkeys(filter(None, map(self.set_of, first["files"]))))
            if column.axis != "harm":
                names = [name for name in names if name not in self.harmful] or names
            units = [unit for unit in worst if any(self._prompts_of(name, unit) for name in names)] or list(worst)
            prompts = []
            for unit in sorted(units, key=lambda unit: worst[unit])[:at_most]:
                figures = {row["method"]: row["per_prompt"][unit] for row in column.rows if unit in row["per_prompt"]}
                strips: list[Strip] = []
                for name in names:
                    strips = strips or self.take(name, self._prompts_of(name, unit), 1)
                prompts.append((unit, figures, strips))
            found.append(Worst(column, prompts))
        return found

    def _prompts_of(self, name: str, unit: str) -> list[str]:
        """A figure's unit is a prompt, or what several prompts have in common, such as the occupation."""
        records = [record for run in self.runs for _, record in run.pictures.get(name, ())]
        return list(dict.fromkeys(record["prompt"] for record in records if unit in record.values()))


def _has_worst(column: Column) -> bool:
    rows = column.rows[1:]
    return (
        column.metric not in OF_WHOLE_SETS | {"diversity"}
        and direction(column.rows[0]) is not None
        and bool(rows)
        and all(row["per_prompt"].keys() == column.rows[0]["per_prompt"].keys() for row in rows)
        and bool(column.rows[0]["per_prompt"])
    )
