"""Presets: the values that a YAML file gives to a dataclass's fields, before the command line gives its own."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import tyro
import yaml
from pydantic import TypeAdapter, ValidationError

from diffusion_base.errors import UserError

Arguments = TypeVar("Arguments")
(POSITIONAL,) = get_args(tyro.conf.Positional[Any])[1:]


def take_config(argv: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Split `--config FILE` or `--config=FILE` off a command line."""
    rest = list(argv)
    for i, argument in enumerate(rest):
        if argument.startswith("--config="):
            return Path(argument.removeprefix("--config=")), rest[:i] + rest[i + 1 :]
        if argument == "--config":
            if i + 1 == len(rest):
                raise UserError("--config needs the name of a YAML file")
            return Path(rest[i + 1]), rest[:i] + rest[i + 2 :]
    return None, rest


def with_preset(cls: type[Arguments], file: Path, argv: Sequence[str]) -> Arguments:
    """What a dataclass's fields are where the command line says nothing: the file's values, else their own defaults.

    Returns:
        An instance for `tyro.cli(default=…)` alone: fields that the command line has to give are `tyro.MISSING` in it,
        and its `__post_init__` was not called. A preset's value whose flag is on the command line is left out: flags
        that may be repeated would be added to it.
    """
    given = {
        argument.partition("=")[0].removeprefix("--").replace("-", "_") for argument in argv if argument[:2] == "--"
    }
    preset = {name: value for name, value in _checked(cls, file).items() if name not in given}
    return _filled(cls, preset)


def field_types(cls: Any) -> dict[str, Any]:
    """Name and type of every field that is a flag, those of nested dataclasses included."""
    types: dict[str, Any] = {}
    for name, kind in get_type_hints(cls, include_extras=True).items():
        if POSITIONAL in get_args(kind)[1:]:
            continue
        types |= field_types(kind) if dataclasses.is_dataclass(kind) else {name: kind}
    return types


def _checked(cls: type, file: Path) -> dict[str, Any]:
    """A file's values by the names of their fields, each of its field's type."""
    try:
        preset = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {file} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(preset, dict):
        raise UserError(f"--config {file} must hold `option: value` lines")
    types, checked = field_types(cls), {}
    for key, value in preset.items():
        name = str(key).replace("-", "_")
        if name not in types:
            raise UserError(f"{file}: unknown option {key!r}; see --help for the options there are")
        try:
            checked[name] = TypeAdapter(types[name]).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise UserError(f"{file}: the value {value!r} of {key!r} does not fit: {problem}") from None
    return checked


def _filled(cls: type[Arguments], values: dict[str, Any], start: Any = tyro.MISSING) -> Arguments:
    """An instance of these values and, where they are silent, of `start`'s or the fields' defaults."""
    filled, types = object.__new__(cls), get_type_hints(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        value = _default(field) if start is tyro.MISSING else getattr(start, field.name)
        if dataclasses.is_dataclass(types[field.name]):
            value = _filled(types[field.name], values, value)
        object.__setattr__(filled, field.name, values.get(field.name, value))
    return filled


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return tyro.MISSING if field.default is dataclasses.MISSING else field.default
