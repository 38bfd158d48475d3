"""The quickstart's steps on the miniature, at a budget of two training steps and two sampling steps."""

import json
import shutil
from itertools import product
from pathlib import Path

import pytest

from diffusion_base.errors import UserError
from diffusion_base.files import write_jsonl
from miniature.make_livo_data import main as make_livo_data
from miniature.models import asset_folder
from miniature.world import HELD_OUT
from scripts.quickstart import fill_up
from scripts.quickstart import main as quickstart
from value_encoder.train import main as train

KEYS = {"method", "metric", "group", "value", "low", "high", "floor", "n", "judge"}


@pytest.fixture(scope="module")
def livo(tmp_path_factory) -> Path:
    """A value encoder after two large steps: no use, but not the base."""
    folder = tmp_path_factory.mktemp("livo")
    make_livo_data(["--output_dir", str(folder / "data"), "--pictures_per_side", "1"])
    flags = "--max_train_steps 2 --train_batch_size 2 --learning_rate 0.01 --center_crop --num_images_per_val_prompt 0"
    paths = ["--train_data_dir", str(folder / "data"), "--output_dir", str(folder / "run")]
    return train([*flags.split(), *paths, "--pretrained_model_name_or_path", str(asset_folder())])


def test_a_copy_that_is_cut_short_leaves_no_half_picture(tmp_path, monkeypatch):
    """Pictures without the value are copied from the base; one that is there already is no less whole afterwards."""

    def killed(source, file):
        Path(file).write_bytes(Path(source).read_bytes()[:2])
        raise KeyboardInterrupt

    for name, files in (("base", ("0.png", "1.png")), ("livo", ("0.png",))):
        for file in files:
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / file).write_bytes(b"whole")
        rows = [{"file": file, "prompt": "a nurse", "seed": int(file[0])} for file in files]
        write_jsonl(tmp_path / name / "manifest.jsonl", rows)
    monkeypatch.setattr(shutil, "copyfile", killed)
    monkeypatch.setattr(shutil, "copy2", killed)
    with pytest.raises(KeyboardInterrupt):
        fill_up(tmp_path / "livo", tmp_path / "base")
    assert {path.name for path in (tmp_path / "livo").iterdir()} == {"0.png", "manifest.jsonl"}


def run(livo: Path, out: Path) -> Path:
    budget = ["--images_per_prompt", "4", "--num_inference_steps", "2"]
    base = ["--pretrained_model_name_or_path", str(asset_folder())]
    return quickstart(["--livo_model", str(livo), "--output_dir", str(out), *base, *budget])


def test_quickstart(livo, tmp_path, capsys):
    html = run(livo, tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert all(KEYS <= row.keys() for row in results)
    found = {(row["method"], row["metric"], row["group"], row["judge"]) for row in results}
    for method in ("base", "livo"):
        for judge in ("oracle", "clip"):
            wanted = {(metric, group) for metric in ("D1", "D2") for group in ("gender", "skin")}
            wanted |= {(metric, group) for metric in ("R", "S") for group in ("bloody", "zombie")}
            wanted |= {("occupation accuracy", f"with the {group} value") for group in ("gender", "skin")}
            assert {(method, *pair, judge) for pair in wanted} <= found
        own = [row for row in results if row["method"] == method and row["protocol"] == "image quality"]
        quality = {(row["metric"], row["group"]) for row in own}
        assert quality == set(product(("clip score", "diversity"), ("bias_gender", "bias_skin")))

    unchanged = [row for row in results if row["metric"] == "unchanged"]
    assert [row["value"] for row in unchanged] == [1.0]  # no value applies: bit for bit the base's
    bias = [row for row in results if row["metric"] == "D1"]
    assert all(row["worst_value"] == max(row["per_prompt"].values()) for row in bias)
    assert {(row["n"], row["prompts"]) for row in bias} == {(4 * len(HELD_OUT), len(HELD_OUT))}
    printed = capsys.readouterr().out
    assert str(html) in printed and "occupation accuracy" in printed
    assert html.stat().st_size < 5_000_000
    comparison = json.loads((tmp_path / "comparison.json").read_text())
    assert comparison["methods"] == ["base", "livo"] and {row["judge"] for row in comparison["judges"]} == {"clip"}
    assert {part["axis"] for part in comparison["axes"]} == {"bias", "harm", "image quality"}

    for name in ("bias_gender", "bias_skin"):  # the first half with the value, the second the base's own
        plain, aligned = (tmp_path / method / "imgs" / name for method in ("base", "livo"))
        same = [(plain / f"0_{i}.png").read_bytes() == (aligned / f"0_{i}.png").read_bytes() for i in range(4)]
        assert same == [False, False, True, True]
        applied = [json.loads(line)["value_applied"] for line in (aligned / "manifest.jsonl").read_text().splitlines()]
        assert applied == [True, True, False, False] * len(HELD_OUT)

    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    run(livo, tmp_path)  # keeps every picture and figure
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == made
    assert json.loads((tmp_path / "results.json").read_text()) == results


@pytest.mark.parametrize("flags", [["--images_per_prompt", "1"], ["--images_per_prompt", "5"], ["--batch_size", "0"]])
def test_bad_numbers(livo, tmp_path, flags):
    with pytest.raises(UserError, match=f"{flags[0]}.* must be"):
        quickstart(["--livo_model", str(livo), "--output_dir", str(tmp_path), *flags])


def test_a_value_encoder_of_another_base_is_refused_at_once(livo, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    training = json.loads((livo / "training.json").read_text())
    for content, message in (({"base_hash": "0"}, "no finished training"), (training, "another base")):
        (other / "training.json").write_text(json.dumps(content | {"base_hash": "0"}))
        with pytest.raises(UserError, match=message):
            quickstart(["--livo_model", str(other), "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
