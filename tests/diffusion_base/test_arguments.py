"""Flags as the field writes them, presets checked against the dataclass, one clear sentence for what is wrong."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import tyro

from diffusion_base.arguments import (
    MAY_CHANGE,
    BaseArguments,
    Count,
    SamplingArguments,
    fixed_fields,
    parse,
    to_dict,
)
from diffusion_base.errors import UserError, run
from diffusion_base.training.arguments import TrainingArguments


@dataclass
class Data:
    """The pictures."""

    train_data_dir: Path = Path("data")
    """Folder of the pictures."""
    random_flip: bool = False
    """Flip half of the pictures."""


@dataclass
class Arguments:
    """Train something."""

    base: BaseArguments
    data: Data
    learning_rate: float = 1e-4
    """Step size of the optimizer."""
    max_train_steps: int | None = None
    """Stop after so many steps."""
    prompts: list[str] = field(default_factory=list)
    """Prompts of the validation pictures."""

    def __post_init__(self):
        if self.learning_rate <= 0:
            raise ValueError("--learning_rate must be positive")


BASE = ["--pretrained_model_name_or_path", "sd"]


def test_flags_of_nested_dataclasses_are_flat_and_take_both_spellings():
    arguments = parse(
        Arguments,
        ["--pretrained-model-name-or-path=sd", "--random_flip", "--learning_rate=3e-5", "--prompts", "a cat", "a dog"],
    )
    assert arguments.base.pretrained_model_name_or_path == "sd"
    assert arguments.data.random_flip and arguments.data.train_data_dir == Path("data")
    assert arguments.learning_rate == 3e-5 and arguments.prompts == ["a cat", "a dog"]
    assert not parse(Arguments, [*BASE, "--random_flip", "--no-random_flip"]).data.random_flip


def preset(folder: Path, text: str) -> list[str]:
    (folder / "preset.yaml").write_text(text)
    return [*BASE, "--config", str(folder / "preset.yaml")]


def test_preset_is_read_and_the_command_line_wins(tmp_path):
    text = "learning_rate: 1e-5\nmax-train-steps: 7\nrandom_flip: true\nprompts: [a cat, -3]\n"
    with pytest.raises(UserError, match="preset.yaml: the value .* of 'prompts' does not fit"):
        parse(Arguments, preset(tmp_path, text))
    text = text.replace(", -3", ", a dog")
    arguments = parse(Arguments, preset(tmp_path, text))
    assert (arguments.learning_rate, arguments.max_train_steps, arguments.data.random_flip) == (1e-5, 7, True)
    assert arguments.prompts == ["a cat", "a dog"]
    arguments = parse(Arguments, [*preset(tmp_path, text), "--max_train_steps", "9", "--prompts", "a bird"])
    assert (arguments.max_train_steps, arguments.prompts) == (9, ["a bird"])
    assert parse(Arguments, preset(tmp_path, "max_train_steps: null")).max_train_steps is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 1", "preset.yaml: unknown option 'learning_rat'"),
        ("learning_rate: fast", "preset.yaml: the value 'fast' of 'learning_rate' does not fit"),
        ("random_flip: 3", "of 'random_flip' does not fit"),
        ("max_train_steps: 1.5", "of 'max_train_steps' does not fit"),
        ("- learning_rate", "must hold `option: value` lines"),
        ("a: [", "is not YAML"),
    ],
)
def test_bad_preset_is_named_with_its_key(tmp_path, text, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        parse(Arguments, preset(tmp_path, text))
    assert "\n" not in str(caught.value)


@dataclass
class Lists:
    """Flags of every kind that a preset may set."""

    judge: Annotated[list[str], tyro.conf.UseAppendAction] = field(default_factory=list)
    """May be repeated."""
    sides: tuple[int, int] = (1, 2)
    """Two numbers."""
    strengths: tuple[float, ...] = (0.5,)
    """Any number of them."""
    steps: Count | None = 7
    """A number or none."""
    compile: bool = True
    """On unless told otherwise."""


@dataclass
class Outer:
    """A group whose defaults are another's, one of them to be given."""

    lists: Lists = field(default_factory=lambda: Lists(sides=tyro.MISSING, steps=9))
    files: Annotated[list[Path], tyro.conf.UseAppendAction] = field(default_factory=list)
    """May be repeated."""


KINDS = "judge: [a, --b c]\nsides: [3, 4]\nstrengths: []\nsteps: null\ncompile: false\nfiles: [x, y z]\n"


def test_a_preset_holds_lists_tuples_none_and_booleans(tmp_path):
    (tmp_path / "kinds.yaml").write_text(KINDS)
    preset = ["--config", str(tmp_path / "kinds.yaml")]
    arguments = parse(Outer, preset)
    assert arguments.lists == Lists(["a", "--b c"], (3, 4), (), None, False)
    assert arguments.files == [Path("x"), Path("y z")]
    flags = ["--judge", "d", "--judge=e", "--sides", "5", "6", "--strengths", "1", "--steps", "2", "--compile"]
    arguments = parse(Outer, [*preset, *flags])
    assert arguments.lists == Lists(["d", "e"], (5, 6), (1.0,), 2, True)
    assert arguments.files == [Path("x"), Path("y z")]


def test_what_neither_preset_nor_command_line_gives_keeps_its_default(tmp_path, capsys):
    (tmp_path / "kinds.yaml").write_text("judge: [a]\n")
    preset = ["--config", str(tmp_path / "kinds.yaml")]
    assert parse(Outer, [*preset, "--sides", "5", "6"]) == Outer(Lists(["a"], (5, 6), steps=9))
    with pytest.raises(SystemExit):
        parse(Outer, preset)
    assert "--sides" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--steps", "0"], "--steps 0: it must be 1 or more"),
        (["--strengths", "1", "nan"], "--strengths nan: it must be a finite number"),
        (["--strengths", "inf"], "--strengths inf: it must be a finite number"),
    ],
)
def test_numbers_are_checked_whether_or_not_a_class_thinks_of_it(flags, message):
    with pytest.raises(UserError, match=re.escape(message)):
        parse(Outer, ["--sides", "1", "2", *flags])


def test_a_preset_s_numbers_are_checked(tmp_path):
    (tmp_path / "numbers.yaml").write_text("guidance_scale: 1.0e+30")
    with pytest.raises(UserError, match="numbers.yaml: the value 1e.30 of 'guidance_scale' does not fit"):
        parse(SamplingArguments, ["--config", str(tmp_path / "numbers.yaml")])
    (tmp_path / "numbers.yaml").write_text("guidance_scale: .nan")
    with pytest.raises(UserError, match="guidance_scale"):
        parse(SamplingArguments, ["--config", str(tmp_path / "numbers.yaml")])


@pytest.mark.parametrize("scale", ["nan", "inf", "1e30", "-1"])
def test_a_guidance_that_makes_black_pictures_is_refused(scale):
    with pytest.raises(UserError, match=r"--guidance_scale .*: it must be"):
        parse(SamplingArguments, [f"--guidance_scale={scale}"])


def test_missing_preset(tmp_path):
    with pytest.raises(UserError, match="nowhere.yaml cannot be read: No such file"):
        parse(Arguments, [*BASE, f"--config={tmp_path}/nowhere.yaml"])
    with pytest.raises(UserError, match="needs the name"):
        parse(Arguments, [*BASE, "--config"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([*BASE, "--learning_rat", "1"], "Perhaps you meant"),
        ([*BASE, "--max_train_steps", "few"], "few"),
        ([*BASE, "--learning_rate=-1"], "--learning_rate must be positive"),
    ],
)
def test_bad_flags_exit_with_2_and_say_which(argv, message, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(Arguments, argv, prog="train")
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err and not printed.out


def test_resolved_arguments_are_json_and_serve_as_a_preset(tmp_path):
    arguments = parse(Arguments, [*BASE, "--train_data_dir", "pictures", "--prompts", "a cat"])
    saved = to_dict(arguments)
    (tmp_path / "arguments.yaml").write_text(json.dumps(saved))  # JSON is YAML
    assert saved["train_data_dir"] == "pictures"
    assert parse(Arguments, ["--config", str(tmp_path / "arguments.yaml")]) == arguments


def fail(error: BaseException):
    raise error


@pytest.mark.parametrize(
    ("main", "code", "printed"),
    [
        (lambda: None, 0, ""),
        (lambda: fail(UserError("no such folder")), 2, "error: no such folder\n"),
        (lambda: fail(KeyboardInterrupt()), 130, ""),
    ],
)
def test_run_turns_errors_into_exit_codes(main, code, printed, capsys):
    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == code
    assert capsys.readouterr().err == printed


def test_a_missing_flag_is_named(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(TrainingArguments, [], prog="train")
    assert caught.value.code == 2 and "--output_dir" in capsys.readouterr().err


def test_what_must_stay_is_said_by_each_field():
    """A mark counts in a nested dataclass and where a class inherits the field with another default; a name doesn't."""

    @dataclass(kw_only=True)
    class Training(TrainingArguments):
        validation_steps: int = 7
        learning_rate: float = 2.0
        validation_split: str = "test"
        shown: Annotated[tuple[str, ...], MAY_CHANGE] = ()
        words: tuple[str, ...] = ("a",)

    fixed = fixed_fields(Arguments(BaseArguments(), Data())) | fixed_fields(Training(output_dir="out"))
    names = "train_data_dir random_flip prompts validation_split words seed learning_rate scale_lr optimizer"
    assert set(names.split()) <= fixed.keys()
    assert not fixed.keys() & {"pretrained_model_name_or_path", "output_dir", "validation_steps", "shown", "name"}
    assert (fixed["learning_rate"], fixed["words"], fixed["random_flip"]) == (2.0, ["a"], False)
