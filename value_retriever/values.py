"""The values there are: statement, kind, keywords, examples. All of it is data, in values.yaml and in users' files."""

import json
from functools import cache, cached_property
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from diffusion_base.errors import UserError
from diffusion_base.identity import digest
from preference_data.schema import NOT_APPLICABLE
from value_retriever.answer import Kind

SHIPPED = Path(__file__).parent / "values.yaml"


class Value(BaseModel):
    """A value, as an entry of the file has it; README.md explains the fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    statement: str = Field(min_length=1)
    kind: Kind
    description: str = ""
    keywords: tuple[str, ...] = ()
    except_: tuple[str, ...] = Field((), alias="except")
    unless: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    @field_validator("statement")
    @classmethod
    def _is_a_statement(cls, statement: str) -> str:
        if statement.strip().lower() in NOT_APPLICABLE:
            raise ValueError(f"{statement!r} stands for no value; take another statement")
        return statement.strip()


class Values(BaseModel):
    """All values: harms before biases, each kind in the order of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: tuple[Value, ...] = ()
    not_applicable: tuple[str, ...] = ()
    words: dict[str, tuple[str, ...]] = {}

    @cached_property
    def harms(self) -> tuple[Value, ...]:
        return tuple(value for value in self.values if value.kind == "harm")

    @cached_property
    def biases(self) -> tuple[Value, ...]:
        return tuple(value for value in self.values if value.kind == "bias")

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The kind of each statement, harms first."""
        return {value.statement: value.kind for value in (*self.harms, *self.biases)}

    @cached_property
    def version(self) -> str:
        """16 hex digits that follow everything here."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return digest(content.encode())[:16]

    def and_those_of(self, more: "Values") -> "Values":
        """These and more; an entry with the statement, or a list with the name, of one that is here replaces it."""
        entries = {value.statement.lower(): value for value in (*self.values, *more.values)}
        return Values(
            values=tuple(entries.values()),
            not_applicable=(*self.not_applicable, *more.not_applicable),
            words=self.words | more.words,
        )


def load_values(file: str | Path | None = None) -> Values:
    """The shipped values, and those that a file of the same form adds.

    Raises:
        UserError: no such file, not YAML, or not of that form; names the file and the entry.
    """
    return _shipped() if file is None else _shipped().and_those_of(read_values(Path(file)))


@cache
def _shipped() -> Values:
    return read_values(SHIPPED)


def read_values(file: Path) -> Values:
    """The values of one file alone. Raises as `load_values`."""
    try:
        # the C loader takes a tenth of the time
        content = yaml.load(file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--values {file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"--values {file} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"--values {file} must hold `values:` and a list of entries; see value_retriever/values.yaml")
    try:
        values = Values.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = " ".join(map(str, first["loc"]))
        raise UserError(
            f"--values {file}, {place}: {first['msg'].removeprefix('Value error, ').replace('tuple', 'list')}"
        ) from None
    statements = [value.statement.lower() for value in values.values]
    if doubles := {statement for statement in statements if statements.count(statement) > 1}:
        raise UserError(f"--values {file}: {', '.join(sorted(doubles))} is there twice; keep one entry")
    return values
