"""built_dataset.sh: the commands that it gives are ones its scripts understand, and its verdict is right."""

import json
import os
import subprocess
from importlib import import_module
from pathlib import Path

import yaml

from diffusion_base.arguments import parse, to_dict

ROOT = Path(__file__).resolve().parents[2]


def built_dataset(checkout: Path, *options: str) -> subprocess.CompletedProcess:
    command = ["bash", str(checkout / "scripts" / "built_dataset.sh"), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)


def understood(command: list[str]) -> tuple[str, dict]:
    """The module that a command runs, and the arguments that it takes from it."""
    at = next((i for i, word in enumerate(command) if word.endswith(".py")), 1)  # else: -m MODULE
    module = command[at].removesuffix(".py").replace("/", ".")
    return module, to_dict(parse(import_module(module).Arguments, command[at + 1 :]))


def test_both_sets_are_used_alike(checkout, monkeypatch):
    report = checkout / "out" / "report"
    report.mkdir(parents=True)
    measured = {"metric": "D1", "measured_on": "gender, career", "judge": "oracle"}
    figures = [measured | {"value": value} for value in (0.9, 0.05, 0.2)]
    (report / "comparison.json").write_text(json.dumps({"figures": [measured | {"judge": "clip"}, *figures]}))
    result = built_dataset(checkout, "--output_dir", "out", "--scale", "0.1", "--images_per_prompt", "6")
    assert result.returncode == 0, result.stderr
    assert "base 0.900, rendered set 0.050, built set 0.200: 0.150 MORE imbalance" in result.stdout

    monkeypatch.chdir(checkout)
    commands = [json.loads(line) for line in (checkout / "commands.log").read_text().splitlines()]
    given = [understood(command) for command in commands]
    modules = [module for module, _ in given]
    assert modules[:2] == ["preference_data.build", "miniature.make_livo_data"]
    assert given[0][1]["output_dir"] == "out/built/data" and given[0][1]["scale"] == 0.1
    trainings = [arguments for module, arguments in given if module == "value_encoder.train"]
    paths = [{key: arguments.pop(key) for key in ("train_data_dir", "output_dir")} for arguments in trainings]
    assert [path["train_data_dir"] for path in paths] == ["out/rendered/data", "out/built/data"]
    preset = yaml.safe_load((ROOT / "value_encoder" / "configs" / "miniature.yaml").read_text())
    assert trainings[0] == trainings[1] and trainings[0]["max_train_steps"] == preset["max_train_steps"]
    assert modules.count("evaluation.eval_bias") == 3 * 2 and modules.count("evaluation.eval_toxicity") == 3 * 3
    livo = [arguments["livo_model"] for module, arguments in given if module == "evaluation.eval_bias"]
    assert livo == [None, None, *["out/rendered/livo"] * 2, *["out/built/livo"] * 2]
    assert modules[-1] == "evaluation.compare"


def test_an_unknown_option(checkout):
    result = built_dataset(checkout, "--steps", "3")
    assert result.returncode == 2 and "unknown option --steps" in result.stderr
