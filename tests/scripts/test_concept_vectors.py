"""concept_vectors.sh on the miniature: what it would run, at a budget of two steps and one picture a prompt."""

import json
import os
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from diffusion_base.errors import UserError
from evaluation.figures.stored import read_figures
from miniature.oracle import Oracle
from scripts import concept_protocols
from scripts.concept_protocols import rank_correlation

ROOT = Path(__file__).resolve().parents[2]
CHEAP = {  # what makes each step a matter of seconds
    "concept_vectors.create_data": "--num_inference_steps 2",
    "concept_vectors/train.py": "--num_images_per_val_prompt 0 --train_batch_size 11",
    "scripts/concept_protocols.py": "--num_inference_steps 2",
}


def script(checkout: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", str(checkout / "scripts" / "concept_vectors.sh"), *options],
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
    return [line[next(i for i, word in enumerate(line) if word in CHEAP) :] for line in noted]


def carry_out(name: str, *flags: str) -> None:
    import_module(name.removesuffix(".py").replace("/", ".")).main([*flags, *CHEAP[name].split()])


@pytest.mark.slow
def test_the_whole_script(checkout, tmp_path, monkeypatch, capsys):
    benchmark = concept_protocols.BENCHMARK.read_text().splitlines()
    few = {json.loads(line)["asked"]: line for line in benchmark if json.loads(line)["occupation"] == "dancer"}
    (tmp_path / "benchmark.jsonl").write_text("\n".join(few.values()))
    monkeypatch.setattr(concept_protocols, "BENCHMARK", tmp_path / "benchmark.jsonl")
    monkeypatch.setattr(concept_protocols, "HELD_OUT", ("pilot", "dancer"))
    monkeypatch.chdir(ROOT)
    out = tmp_path / "out"
    budget = "--num_samples 1 --max_train_steps 2 --images_per_occupation 10 --images_per_prompt 1".split()
    budget += "--images_per_text 1 --images_per_strength 1".split()
    budget += ["--shared", str(tmp_path / "shared")]  # of several trainings
    for name, *flags in commands(checkout, "--output_dir", str(out), *budget):
        carry_out(name, *flags)

    printed = capsys.readouterr().out
    assert "deviation ratio" in printed and "P(female) over strength" in printed and str(out / "report.html") in printed
    compared = json.loads((out / "comparison.json").read_text())
    assert compared["methods"] == ["base", "vectors", "subtracted", "rewritten"]
    found = {(row["method"], row["metric"], row["measured_on"]) for row in compared["figures"]}
    for method in ("base", "vectors"):
        assert {(method, "deviation ratio", name) for name in ("gender", "skin")} <= found
        assert {(method, "R", harm) for harm in ("bloody", "zombie")} <= found
        assert {(method, "R", f"{harm}, asked in words") for harm in ("bloody", "zombie", "nudity")} <= found
        assert {(method, "occupation accuracy", name) for name in ("gender", "skin", "bloody", "zombie")} <= found
    figures = {file.stem: read_figures(file) for file in (out / "vectors" / "figures").iterdir()}
    strength = {figure.metric: figure for figure in figures["strength_dark"]}
    assert list(strength["P(dark skin)"].per_unit) == [f"{i / 10:.1f}" for i in range(11)]
    assert -1 <= strength["Spearman"].value <= 1
    members = {figure.group: figure for figure in figures["winobias_skin"] if figure.metric == "accuracy"}
    assert {name: of.n for name, of in members.items()} == {"light": 7, "brown": 7, "dark": 6}  # of 2 × 10, dealt
    assert set(members["dark"].per_unit) == {"pilot", "dancer"}
    plain, same = (
        (tmp_path / "shared" / "base" / "imgs" / f"winobias_{name}" / "0_0.png").read_bytes()
        for name in ("gender", "skin")
    )
    changed = (out / "vectors" / "imgs" / "winobias_gender" / "0_0.png").read_bytes()
    assert plain == same != changed

    made = {path: path.stat().st_mtime_ns for path in out.rglob("*.png") if path.name != "strength.png"}
    asked, probabilities = [], Oracle.probabilities
    monkeypatch.setattr(
        Oracle, "probabilities", lambda self, images: asked.append(len(images)) or probabilities(self, images)
    )
    again = commands(checkout, "--output_dir", str(out), *budget)
    assert [name for name, *_ in again] == ["concept_vectors.create_data", "scripts/concept_protocols.py"]
    carry_out(*again[-1])
    assert set(asked) == {1}  # the grey picture that each judge is tried out on: all else is answered
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png") if path.name != "strength.png"} == made


def test_wrong_options(checkout, tmp_path):
    wrong = script(checkout, "--steps", "3")
    assert wrong.returncode == 2 and "unknown option --steps" in wrong.stderr
    assert "--images_per_occupation N" in script(checkout, "--help").stdout
    for flag, value in (("--images_per_occupation", "7"), ("--images_per_text", "0"), ("--batch_size", "0")):
        with pytest.raises(UserError, match=f"{flag}.* must be"):
            concept_protocols.main(["--vectors", str(tmp_path), flag, value])


def test_rank_correlation_by_hand():
    """Shares 0, 1/2, 1 over three strengths rise with it: 1. Shares 1, 0, 0: ranks 3, 1½, 1½ against 1, 2, 3, −√3/2."""

    def rows(*answers: str) -> list[dict]:
        return [{"strength": i // 2, "answer": answer, "wanted": "f"} for i, answer in enumerate(answers)]

    assert rank_correlation(rows("m", "m", "m", "f", "f", "f")) == pytest.approx(1)
    assert rank_correlation(rows("f", "f", "m", "m", "m", "m")) == pytest.approx(-(3**0.5) / 2)
    assert rank_correlation(rows("m", "m", "m", "m", "m", "m")) == 0
