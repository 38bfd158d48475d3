"""seeds.sh: what it would run, and LiVO's part of it with two seeds, two training steps and two occupations."""

import json
import os
import shutil
import subprocess
from itertools import chain
from pathlib import Path

import pytest

from diffusion_base.errors import UserError
from miniature.make_livo_data import main as make_livo_data
from scripts import quickstart
from scripts.seeds import COMPARED, main
from tests.evaluation.fake_runs import write_run
from value_encoder.train import main as train

ROOT = Path(__file__).resolve().parents[2]
BUDGET = ["--seeds", "3", "5", "--max_train_steps", "2", "--images_per_prompt", "2"]


def script(checkout: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", str(checkout / "scripts" / "seeds.sh"), *options],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PRECISION": "no"},
        capture_output=True,
        text=True,
        timeout=200,
    )


def commands(checkout: Path, *options: str) -> list[list[str]]:
    """What the script would run: the name of a script or module, and its flags."""
    (checkout / "commands.log").write_text("")
    result = script(checkout, *options)
    assert result.returncode == 0, result.stderr
    noted = [json.loads(line) for line in (checkout / "commands.log").read_text().splitlines()]
    begins = ("miniature.", "concept_vectors", "value_encoder/", "scripts/")
    return [line[next(i for i, word in enumerate(line) if word.startswith(begins)) :] for line in noted]


def value(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_every_seed_is_trained_on_the_same_data_and_compared_with_the_same_base(checkout, tmp_path, monkeypatch):
    out = tmp_path / "out"
    found = commands(checkout, *BUDGET, "--output_dir", str(out))
    steps = ["miniature.make_livo_data", "value_encoder/train.py", "scripts/quickstart.py"]
    steps_of_vectors = ["concept_vectors.create_data", "concept_vectors/train.py", "scripts/concept_protocols.py"]
    assert [name for name, *_ in found] == [*2 * steps, *2 * steps_of_vectors, "scripts/seeds.py"]
    trainings = [command for command in found if command[0].endswith("train.py")]
    assert [value(command, "--seed") for command in trainings] == ["3", "5", "3", "5"]
    for name, folder in (("value_encoder/train.py", out / "livo"), ("concept_vectors/train.py", out / "vectors")):
        own = [command for command in trainings if command[0] == name]
        assert {value(command, "--train_data_dir") for command in own} == {str(folder / "data")}
        assert {value(command, "--latents_dir") for command in own} == {str(folder / "latents")}
        assert len({value(command, "--output_dir") for command in own}) == 2
    bases = [value(command, "--base_run") for command in found if "--base_run" in command]
    assert bases == [str(out / "livo" / "base")] * 2 + [str(out / "vectors" / "base")] * 2

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(quickstart, "HELD_OUT", quickstart.HELD_OUT[:2])
    monkeypatch.setattr(quickstart, "THINGS", quickstart.THINGS[:1])
    monkeypatch.setattr(quickstart, "HARMS", ("bloody",))
    make_livo_data([*found[0][1:], "--pictures_per_side", "1"])
    for scene in sorted((out / "livo" / "data").glob("*/*"))[2:]:  # two are enough
        shutil.rmtree(scene)
    for command in found[1:6]:
        if command[0] == "value_encoder/train.py":
            train([*command[1:], *"--train_batch_size 2 --learning_rate 0.01 --num_images_per_val_prompt 0".split()])
        elif command[0] == "scripts/quickstart.py":
            quickstart.main([*command[1:], "--num_inference_steps", "2"])
    made = {file: file.stat().st_mtime_ns for file in out.rglob("*.png")}
    assert len({file.parents[2] for file in made if "imgs" in file.parts}) == 3  # the base once, and LiVO's two

    write_run(out / "vectors" / "base", "base")
    for method in COMPARED["vectors"][1]:
        for seed in (3, 5):
            write_run(out / "vectors" / f"seed{seed}" / method, method, (seed,) * 8, training_seed=seed)
    results = json.loads(main(found[-1][1:]).read_text())
    rows = {(row["method"], row["metric"], row["group"], row["judge"]): row for row in results}
    row = rows["livo", "D1", "gender", "oracle"]
    assert row["seeds"] == [3, 5] and row["value"] == pytest.approx(sum(row["seed_values"]) / 2)
    of_seeds = [json.loads((out / "livo" / f"seed{seed}" / "results.json").read_text()) for seed in (3, 5)]
    own = [
        of["value"]
        for of in chain(*of_seeds)
        if (of["method"], of["metric"], of["group"], of["judge"]) == ("livo", "D1", "gender", "oracle")
    ]
    assert row["seed_values"] == own and row["worst_seed"] in (3, 5) and row["low"] <= row["value"] <= row["high"]
    assert rows["base", "D1", "gender", "oracle"]["seeds"] == []
    assert rows["subtracted", "D1", "gender, career", "oracle"]["seed_values"] == [pytest.approx(0.4), 0.0]
    for name in COMPARED:
        assert (out / name / "report.html").is_file()
    again = commands(checkout, *BUDGET, "--output_dir", str(out))  # what is trained stays, the rest finds its files
    assert [name for name, *_ in again if name == "value_encoder/train.py"] == []


def test_wrong_options(checkout, tmp_path):
    for options, message in (
        (["--steps", "3"], "unknown option --steps"),
        (["--seeds", "3", "--max_train_steps", "2"], "--seeds needs two or more, not 3 alone"),
    ):
        wrong = script(checkout, *options)
        assert wrong.returncode == 2 and message in wrong.stderr
    assert "--seeds N N" in script(checkout, "--help").stdout
    with pytest.raises(UserError, match="--seeds needs two or more, no two alike, not 1 1"):
        main(["--seeds", "1", "1", "--output_dir", str(tmp_path)])
