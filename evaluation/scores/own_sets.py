"""Attribute sets of one's own, from a YAML file:

age: {choices: [young, old], wording: "a photo of a {choice} person"}
age-and-gender: {intersection: [age, gender]}
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffusion_base.errors import UserError
from evaluation.scores.attributes import BUILT_IN, AttributeSet, intersect

Word = Annotated[str, Field(min_length=1)]
SeveralWords = Annotated[list[Word], Field(min_length=2)]


class Entry(BaseModel):
    """A set as the file has it; see `AttributeSet`."""

    model_config = ConfigDict(extra="forbid")
    choices: SeveralWords
    value: Word | None = None
    wording: Word | None = None


class IntersectionEntry(BaseModel):
    """An intersection as the file has it: the names of built-in sets, or of the file's own."""

    model_config = ConfigDict(extra="forbid")
    intersection: SeveralWords
    value: Word | None = None


def attribute_set(name: str, file: Path | None = None) -> AttributeSet:
    """The set that `--type` names: a built-in one, or one of `--attributes FILE`.

    Raises:
        UserError: there is none of this name; or see `read_attributes`.
    """
    known = BUILT_IN if file is None else BUILT_IN | read_attributes(file)
    if name not in known:
        raise UserError(f"--type {name}: there is no such bias; there are {', '.join(known)}")
    return known[name]


def read_attributes(file: Path) -> dict[str, AttributeSet]:
    """The attribute sets of a YAML file.

    Raises:
        UserError: the file is missing or not such a file, or an entry is wrong; names file and entry.
    """
    found: dict[str, AttributeSet] = {}
    # intersections last: they may name a set that stands below them
    for name, content in sorted(_contents(file).items(), key=lambda item: "intersection" in item[1]):
        try:
            found[name] = _attribute_set(name, content, BUILT_IN | found)
        except ValueError as error:
            raise UserError(f"{file}, {name!r}: {_in_words(error)}") from None
    return found


def _attribute_set(name: str, content: dict, known: Mapping[str, AttributeSet]) -> AttributeSet:
    if not re.fullmatch(r"\w[\w-]*", name):
        raise ValueError("a name is made of letters, digits, - and _, because files bear it")
    if name in BUILT_IN:
        raise ValueError("there is a built-in set of this name; choose another")
    if "intersection" in content:
        crossed = IntersectionEntry.model_validate(content)
        _check_distinct(crossed.intersection)
        plain = {other: attributes for other, attributes in known.items() if not attributes.intersection}
        if unknown := [part for part in crossed.intersection if part not in plain]:
            raise ValueError(f"{unknown[0]!r} is no set that can be intersected; there are {', '.join(plain)}")
        return intersect(name, [plain[part] for part in crossed.intersection], crossed.value)
    entry = Entry.model_validate(content)
    _check_distinct(entry.choices)
    wording = entry.wording or ""
    if wording and "{choice}" not in wording and wording.count("|") != len(entry.choices) - 1:
        raise ValueError("wording must hold {choice}, or an alternative for each choice such as {man|woman}")
    return AttributeSet(name, tuple(entry.choices), entry.value, wording)


def _check_distinct(words: Sequence[str]) -> None:
    if twice := next((word for i, word in enumerate(words) if word in words[:i]), None):
        raise ValueError(f"{twice!r} comes twice")


def _in_words(error: ValueError) -> str:
    """What is wrong with an entry, by its first problem."""
    if not isinstance(error, ValidationError):
        return str(error)
    problem = error.errors()[0]
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"there is no key {key!r}; a set has choices, value and wording, an intersection intersection and value"
    if problem["type"] == "too_short":
        return f"{key!r} needs two or more"
    return f"{key!r} is missing" if problem["type"] == "missing" else f"{key!r}: {problem['msg']}"


def _contents(file: Path) -> dict[str, dict]:
    """The file's mappings by name; YAML itself would let the last of two equal names win in silence."""
    try:
        text = file.read_text(encoding="utf-8")
        node, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except FileNotFoundError:
        raise UserError(f"--attributes {file}: there is no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--attributes {file} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not isinstance(node, yaml.MappingNode):
        raise UserError(f"--attributes {file} must hold attribute sets, `name: {{choices: [one, other]}}` each")
    for mapping in (node, *(value for _, value in node.value if isinstance(value, yaml.MappingNode))):
        keys = [key.value for key, _ in mapping.value]
        if twice := next((key for i, (key, _) in enumerate(mapping.value) if key.value in keys[:i]), None):
            raise UserError(f"{file}, line {twice.start_mark.line + 1}: {twice.value!r} comes twice")
    for name, entry in content.items():
        if not isinstance(name, str) or not isinstance(entry, dict):
            raise UserError(f"{file}, {name!r}: a set is written `name: {{choices: [one, other]}}`")
    return content
