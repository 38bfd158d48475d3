"""Which pictures are preferred, said in one of four forms, each a JSON line a record.

    pairs      {"prompt", "preferred": file, "dispreferred": file}
    labels     {"file_name", "prompt", "label": 1 preferred / 0 dispreferred, "group", "value"}
    choices    {"prompt", "file_names": [file, …], "choice": index}
    scores     {"file_name", "prompt", "reward": number}

A file's path is relative to the folder of the JSON lines and stays inside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from diffusion_base.errors import UserError
from diffusion_base.files import inside, read_jsonl, write_jsonl

# what stands in a file where no value applies, and where nobody could say: values can't be called so
NO_VALUE, FAILED = "not applicable", "retrieve failure"
NOT_APPLICABLE = ("", NO_VALUE, FAILED)


@dataclass(frozen=True)
class Pair:
    """Two pictures of one prompt, and which of them is preferred."""

    prompt: str
    preferred: Path
    dispreferred: Path

    @classmethod
    def from_row(cls, row: dict, folder: Path, where: str) -> "Pair":
        preferred, dispreferred = (inside(folder, required(row, key, where)) for key in ("preferred", "dispreferred"))
        if preferred == dispreferred:
            raise UserError(f"{where}: both pictures are {row['preferred']}; take the pair out")
        return cls(text(row, "prompt", where), preferred, dispreferred)

    def row(self, folder: Path) -> dict[str, Any]:
        preferred, dispreferred = relative(self.preferred, folder), relative(self.dispreferred, folder)
        return {"prompt": self.prompt, "preferred": preferred, "dispreferred": dispreferred}


@dataclass(frozen=True)
class Labelled:
    """One picture that is preferred, or dispreferred, without another beside it."""

    path: Path
    prompt: str
    preferred: bool
    group: str
    """What it may be compared within: LiVO's "<category>/<scene>", else the prompt."""
    value: str = ""
    """The value statement by which it is preferred; "" where people just liked it."""

    @classmethod
    def from_row(cls, row: dict, folder: Path, where: str) -> "Labelled":
        prompt = text(row, "prompt", where)
        group, value = text({"group": prompt} | row, "group", where), text({"value": ""} | row, "value", where)
        path = inside(folder, required(row, "file_name", where))
        return cls(path, prompt, is_preferred(row, where), group, value)

    def row(self, folder: Path) -> dict[str, Any]:
        row = {"file_name": relative(self.path, folder), "prompt": self.prompt, "label": int(self.preferred)}
        return row | {"group": self.group, "value": self.value}


@dataclass(frozen=True)
class Choice:
    """Several pictures of one prompt, of which somebody chose one."""

    prompt: str
    pictures: tuple[Path, ...]
    chosen: int
    """Index of the preferred one."""

    @classmethod
    def from_row(cls, row: dict, folder: Path, where: str) -> "Choice":
        names, chosen = required(row, "file_names", where), required(row, "choice", where)
        return cls.checked(text(row, "prompt", where), names, chosen, folder, where)

    @classmethod
    def checked(cls, prompt: str, names: Any, chosen: Any, folder: Path, where: str) -> "Choice":
        """A choice from a row of any source; `where` names that row in errors."""
        if not isinstance(names, list) or len(names) < 2:
            raise UserError(f"{where}: a choice needs a list of two files or more, not {names!r}")
        if type(chosen) is not int or not 0 <= chosen < len(names):
            raise UserError(f"{where}: the choice is {chosen!r}; it must be an index from 0 to {len(names) - 1}")
        return cls(prompt, tuple(inside(folder, name) for name in names), chosen)

    def row(self, folder: Path) -> dict[str, Any]:
        names = [relative(picture, folder) for picture in self.pictures]
        return {"prompt": self.prompt, "file_names": names, "choice": self.chosen}


@dataclass(frozen=True)
class Scored:
    """One picture, and how much people or a scorer liked it: more is better, on a scale of its own."""

    path: Path
    prompt: str
    reward: float

    @classmethod
    def from_row(cls, row: dict, folder: Path, where: str) -> "Scored":
        reward = required(row, "reward", where)
        if isinstance(reward, bool) or not isinstance(reward, int | float) or not math.isfinite(reward):
            raise UserError(f"{where}: reward is {reward!r}; it must be a finite number")
        return cls(inside(folder, required(row, "file_name", where)), text(row, "prompt", where), float(reward))

    def row(self, folder: Path) -> dict[str, Any]:
        return {"file_name": relative(self.path, folder), "prompt": self.prompt, "reward": self.reward}


Record = TypeVar("Record", Pair, Labelled, Choice, Scored)


def read_records(file: str | Path, kind: type[Record]) -> list[Record]:
    """The pairs, labels, choices or scores of a file.

    Raises:
        UserError: no such file, or a line that is no record of this kind; names the record, counted from 1.
    """
    file = Path(file)
    return [kind.from_row(row, file.parent, f"{file}, record {n}") for n, row in enumerate(read_jsonl(file), start=1)]


def write_records(
    file: str | Path, records: Sequence[Pair] | Sequence[Labelled] | Sequence[Choice] | Sequence[Scored]
) -> None:
    """A file of records, whole or not at all.

    Raises:
        UserError: a picture lies outside the file's folder.
    """
    file = Path(file)
    write_jsonl(file, [record.row(file.parent) for record in records])


def required(row: dict, key: str, where: str) -> Any:
    """Raises: UserError: the row lacks the key."""
    if key not in row:
        raise UserError(f"{where}: {key!r} is missing")
    return row[key]


def text(row: dict, key: str, where: str) -> str:
    """Raises: UserError: the row lacks the key, or holds something else than a text there."""
    if not isinstance(found := required(row, key, where), str):
        raise UserError(f"{where}: {key} is {found!r}; it must be a text")
    return found


def is_preferred(row: dict, where: str) -> bool:
    """Raises: UserError: the row's label is neither 1 nor 0."""
    label = required(row, "label", where)
    if type(label) is not int or label not in (0, 1):  # JSON's true would pass for 1
        raise UserError(f"{where}: label is {label!r}; it must be 1 (preferred) or 0 (dispreferred)")
    return bool(label)


def relative(path: Path, folder: Path) -> str:
    """A picture's path as a file of records names it."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{path} lies outside {folder}, so no file of records there can name it; put it inside")
    return path.resolve().relative_to(folder.resolve()).as_posix()
