"""Every command says what a whole number among its flags may be, so that none is taken that makes no sense."""

import importlib
import typing
from pathlib import Path

import pytest
from annotated_types import Ge, Gt, Le, Lt

from diffusion_base.presets import field_types

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in ROOT.glob("[!.]*/**/*.py")
    if not {"tests", "docs"} & {*file.parts}
    and "run(main)" in file.read_text()
    and "class Arguments" in file.read_text()
)


def parts(kind) -> typing.Iterator:
    """An annotation and all that it is made of."""
    yield kind
    for part in (*typing.get_args(kind), *getattr(kind, "__metadata__", ())):
        yield from parts(part)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_whole_number_has_a_range(command):
    types = field_types(importlib.import_module(command).Arguments)
    numbers = {name: list(parts(kind)) for name, kind in types.items() if int in parts(kind)}
    assert [name for name, found in numbers.items() if not any(isinstance(of, Ge | Gt | Le | Lt) for of in found)] == []


def test_the_commands_are_found():
    assert {"value_encoder.train", "evaluation.eval_bias", "preference_data.build", "scripts.quickstart"} <= {*COMMANDS}
