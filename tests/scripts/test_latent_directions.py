"""latent_directions.sh on the miniature: what it would run, at a budget of two steps and few pictures."""

import json
import os
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from diffusion_base.errors import UserError
from miniature.world import GENDERS, HELD_OUT, SKIN_TONES, TRAINING_OCCUPATIONS
from scripts import latent_classes, latent_protocols
from tests.concept_vectors.vector_files import write_vectors

ROOT = Path(__file__).resolve().parents[2]
CHEAP = {  # what makes each step a matter of seconds
    "scripts/latent_classes.py": "",
    "latent_directions.collect": "--num_inference_steps 2",
    "latent_directions.fit": "",
    "scripts/latent_protocols.py": "--num_inference_steps 2 --steps 1 --weights 4 8 --samples 8 --preview_steps 1 "
    "--noises 2",
}


def script(checkout: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", str(checkout / "scripts" / "latent_directions.sh"), *options],
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
    few = (HELD_OUT[0], HELD_OUT[-1])
    monkeypatch.setattr(latent_protocols, "HELD_OUT", few)
    monkeypatch.setattr(latent_protocols, "MALE", few[:1])
    monkeypatch.setattr(latent_protocols, "EVEN", few[1:])
    monkeypatch.setattr(latent_protocols, "TRAINING_OCCUPATIONS", TRAINING_OCCUPATIONS[:2])
    monkeypatch.setattr(latent_protocols, "SWEPT_WEIGHTS", (-9.0, 9.0))
    monkeypatch.chdir(ROOT)
    out = tmp_path / "out"
    vectors = write_vectors(
        tmp_path / "vectors", latent_protocols.load_pipeline("assets/miniature"), concepts=("dark",)
    )
    budget = f"--num_samples 8 --num_samples_of_one 8 --vectors {vectors} --livo_model assets/miniature/text_encoder"
    run = commands(checkout, "--output_dir", str(out), *budget.split())
    assert [name for name, *_ in run] == [
        "scripts/latent_classes.py",
        *["latent_directions.collect"] * 4,
        *["latent_directions.fit"] * 4,
        "scripts/latent_protocols.py",
    ]
    for name, *flags in run:
        carry_out(name, *flags)

    printed = capsys.readouterr().out
    assert "deviation ratio" in printed and "dark and female" in printed and str(out / "report.html") in printed
    assert f"near-even occupations, D1, latent_direction, gender: {few[1]}" in printed
    figures = json.loads((out / "results.json").read_text())
    assert {"method", "metric", "group", "value", "low", "high", "floor", "n", "judge"} <= figures[0].keys()
    found = {(row["method"], row["metric"], row["group"]): row for row in figures}
    for group in ("gender", "skin", "skin-and-gender", "gender, one weight for all", "gender, a weight for each"):
        for metric in ("deviation ratio", "D1", "occupation accuracy"):
            assert {("base", metric, group), ("latent_direction", metric, group)} <= found.keys()
    for method in ("base", "latent_direction", "best_of_seeds"):  # 2 noises · 1 step + 2 steps
        assert found[method, "deviation ratio", "gender, 4 UNet calls"]["n"] == 12
    for weight in (4, 8):
        assert ("latent_direction", "deviation ratio", f"gender, dealt at weight {weight}") in found
        for metric in ("similarity", "diversity", "clip score", "clip-fid"):
            assert ("latent_direction", metric, f"weight_{weight}_gender") in found
    for about in ("8 a class, svm", "8 a class, means", "step 1, logistic", "learned on person", "learned on one"):
        assert found["latent_direction", "P(female)", about]["n"] == 2
    for method in ("base", "latent_direction", "concept_vectors", "livo", "composed"):
        assert found[method, "accuracy", "dark and female"]["n"] == 6
    together = [row for row in figures if row["method"] == "composed"][0]["interventions"]
    assert [spec.split(":")[0] for spec in together] == ["latent_directions", "concept_vectors", "value_encoder"]
    html = (out / "report.html").read_text()
    assert html.count('src="data:image/png;base64,') >= 3 and (out / "curves.png").is_file()

    made = {path: path.stat().st_mtime_ns for path in out.rglob("imgs/*/*.png")}
    carry_out(*run[-1])
    assert made == {path: path.stat().st_mtime_ns for path in made}


def test_the_classes_are_the_worlds(tmp_path):
    folder = latent_classes.main([f"--output_dir={tmp_path}"])
    gender, tones = (yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ("gender", "tones"))
    assert tuple(gender["classes"]) == GENDERS and gender["subjects"] == list(TRAINING_OCCUPATIONS)
    assert [word.replace("-skinned", " skin") for word in tones["classes"].values()] == list(SKIN_TONES)
    assert tuple(tones["classes"]) == tuple(latent_protocols.TONES.values())


def test_wrong_options(checkout, tmp_path):
    wrong = script(checkout, "--steps", "3")
    assert wrong.returncode == 2 and "unknown option --steps" in wrong.stderr
    assert "--images_per_occupation N" in script(checkout, "--help").stdout
    for flag, value in (("--images_per_occupation", "7"), ("--images_per_point", "1"), ("--batch_size", "0")):
        with pytest.raises(UserError, match=f"{flag}.* must be"):
            latent_protocols.main(["--run", str(tmp_path), flag, value])
