"""The answers of judges on disk: a file a set, beside it a part a process while the work goes on."""

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")

# the fields of a row that the record of its picture must not have
WRITTEN = (
    *("sha256", "question", "choices", "wording", "judge", "version"),
    *("answer", "probabilities", "score", "threshold"),
)


class AnswerLog:
    """One process's answers as they come; a kill loses none but the line that it cuts short."""

    def __init__(self, scores_file: Path, process: int):
        self.file = scores_file.with_name(f"{scores_file.name}.part-{process}")

    def write(self, rows: Sequence[dict]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:  # the first newline ends what a kill may have cut short
            file.write("".join("\n" + json.dumps(row, ensure_ascii=False) for row in rows) + "\n")


def parts(scores_file: Path) -> list[Path]:
    """What the processes have written since they were last put together."""
    start = f"{scores_file.name}.part-"
    return sorted(file for file in scores_file.parent.glob("*.part-*") if file.name.startswith(start))


def read_answers(scores_file: Path) -> dict[str, dict]:
    """The rows of earlier runs and of all processes, by `answer_key`; what is none (a line cut short) is left out."""
    rows = {}
    for file in (scores_file, *parts(scores_file)):
        for line in file.read_text(encoding="utf-8", errors="replace").split("\n") if file.is_file() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict):
                rows[answer_key(row)] = row
    return rows


def answer_key(row: dict) -> str:
    """What makes two rows the same answer: picture, question and judge; the prompt, because some judges read it."""
    fields = ("sha256", "prompt", "question", "choices", "wording", "judge", "version")
    return json.dumps([row.get(field) for field in fields])


def grouped(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """Those of equal keys together, groups and items in the order in which they come."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())
