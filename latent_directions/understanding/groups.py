"""Groups of words of which a picture shows one, such as male and female: built in, or from a YAML file:

age: {choices: [young, old], wording: "a photo of a {choice} person"}

The evaluation's `--attributes` files are such files, as far as they hold no intersections.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from diffusion_base.errors import UserError
from scorers.clip import sentences

Word = Annotated[str, Field(min_length=1)]
WORDING = "a photo of a {choice} person"


@dataclass(frozen=True)
class Group:
    """Choices of which every picture of a person shows one.

    Args:
        name: what files and tables call it.
        choices: two or more.
        wording: the sentence about each choice: `{choice}` stands for it, or `{man|woman}` for one word a choice.

    Raises:
        UserError: fewer than two choices, one that comes twice or is empty, or a wording without a place for them.
    """

    name: str
    choices: tuple[str, ...]
    wording: str = WORDING

    def __post_init__(self) -> None:
        if len(self.choices) < 2 or not all(choice.strip() for choice in self.choices):
            raise UserError(f"group {self.name!r}: two or more choices are needed, none of them empty")
        if twice := next((word for i, word in enumerate(self.choices) if word in self.choices[:i]), None):
            raise UserError(f"group {self.name!r}: {twice!r} comes twice")
        if "{choice}" not in self.wording and self.wording.count("|") != len(self.choices) - 1:
            raise UserError(
                f"group {self.name!r}: wording {self.wording!r} must hold {{choice}}, or an alternative for each "
                "choice such as {man|woman}"
            )

    @property
    def sentences(self) -> list[str]:
        """A sentence a choice, e.g. "a photo of a woman"."""
        return sentences(self.wording, self.choices)


GENDER = Group("gender", ("male", "female"), "a photo of a {man|woman}")
RACE = Group(  # the seven of FairFace (Kärkkäinen & Joo, WACV 2021)
    "race", ("white", "black", "indian", "east asian", "southeast asian", "middle eastern", "latino")
)
PRESETS = {group.name: group for group in (GENDER, RACE)}


class Entry(BaseModel):
    """A group as the file has it; what else stands there, such as LiVO's value, is not needed here."""

    choices: list[Word]
    wording: Word | None = None


def read_groups(file: Path, wording: str = WORDING) -> dict[str, Group]:
    """The groups of a YAML file.

    Args:
        wording: of those that name none.

    Raises:
        UserError: the file is missing, is not such a file, or an entry is wrong; names file and entry.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    if not content:
        raise UserError(f"{file} is empty; a group is written `name: {{choices: [one, other]}}`")
    try:
        entries = TypeAdapter(dict[str, Entry]).validate_python(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ", ".join(map(str, problem["loc"])) or "the whole"
        raise UserError(f"{file}, {where}: {problem['msg']}; a group is `name: {{choices: [one, other]}}`") from None
    try:
        return {name: Group(name, tuple(entry.choices), entry.wording or wording) for name, entry in entries.items()}
    except UserError as error:
        raise UserError(f"{file}, {error}") from None


def named_groups(names: Sequence[str], file: Path | None = None) -> list[Group]:
    """The groups of these names, of a file or built in; all of the file's where no names are given.

    Raises:
        UserError: there is none of a name; or see `read_groups`.
    """
    own = {} if file is None else read_groups(file)
    known = PRESETS | own
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"--groups {unknown[0]}: there is no such group; there are {', '.join(known)}")
    return [known[name] for name in names or own or PRESETS]


def read_words(file: Path, what: str) -> list[str]:
    """The words of a text file, such as concepts or attributes, one a line; empty lines are skipped.

    Args:
        what: they are, which is the flag's name, too.

    Raises:
        UserError: no such file, no text, fewer than two, or one twice; names the line.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise UserError(f"--{what} {file}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--{what} {file} cannot be read as UTF-8 text: {error}") from None
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if line and line in found:
            raise UserError(f"{file}, line {number}: {line!r} stands in line {found[line]} already")
        if line:
            found[line] = number
    if len(found) < 2:
        few = "is empty" if not found else f"holds nothing but {next(iter(found))!r}"
        raise UserError(f"--{what} {file} {few}: write two or more {what}, one a line")
    return list(found)
