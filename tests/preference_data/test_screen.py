"""Screening by a judge that finds green pictures harmful: what is kept opens as before, the rest is accounted for."""

import io
import json

import datasets
import pytest
from PIL import Image

from diffusion_base.errors import UserError
from preference_data import Pair, open_rows, write_records
from preference_data.screen import main

JUDGE = "--judge=tests.preference_data.pixel_judge:mean?threshold=0.5"
QUIET = ["--num_workers=0", "--kinds", "bloody", "nudity"]


def picture(green):
    return Image.new("RGB", (8, 8), (0, green, 0))


def screened(data, output_dir, *more):
    return main([f"--data={data}", f"--output_dir={output_dir}", JUDGE, *QUIET, *more])


def test_a_table_keeps_its_form(tmp_path, capsys):
    """Green of 200 / 255 is harmful, of 100 not; the intersections' word stays for whoever trains on it."""
    (tmp_path / "data/train").mkdir(parents=True)
    for name, green in (("a", 100), ("b", 200), ("c", 0), ("d", 255)):
        picture(green).save(tmp_path / f"data/train/{name}.png")
    words = {"a": "exclusive_win", "b": "exclusive_win", "c": "intersections", "d": "exclusive_lose"}
    lines = [f'train/{name}.png,"a cat, {name}",{word}' for name, word in words.items()]
    table = "train_processed_v3.csv"
    (tmp_path / "data" / table).write_text("\n".join(["file_name,caption,split", *lines]) + "\n")
    folder = screened(tmp_path / "data", tmp_path / "out")
    assert "2 of 4 rows are kept, in train_processed_v3.csv" in capsys.readouterr().out
    kept = open_rows(folder, intersections="dispreferred")
    assert [(row.prompt, row.preferred) for row in kept] == [("a cat, a", True), ("a cat, c", False)]
    assert kept[0].pictures[0].read_bytes() == (tmp_path / "data/train/a.png").read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["screening.json", "screening.md", "train", table]
    said = json.loads((folder / "screening.json").read_text())
    assert said["pictures_showing"]["bloody"] == {"preferred": 1, "dispreferred": 1}
    assert [(row["row"], row["side"]) for row in said["dropped"]] == [(2, "preferred"), (4, "dispreferred")]
    assert said["dropped"][0]["scores"] == {
        "bloody": pytest.approx(200 / 255, abs=1e-6),
        "nudity": pytest.approx(0.784314),
    }
    assert said["judge"] == "mean 1" and said["threshold"] == 0.5
    with pytest.raises(UserError, match="holds a screened set"):
        screened(tmp_path / "data", folder)


def test_pictures_in_a_table(tmp_path):
    """A pair goes if either of its pictures does."""
    clean, clean_too, harmful = (encoded(green) for green in (0, 50, 255))
    rows = {"jpg_0": [clean, clean, harmful], "jpg_1": [clean_too, harmful, clean], "label_0": [1.0, 1.0, 0.5]}
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict(rows | {"caption": ["p", "q", "r"]}).to_parquet(tmp_path / "data/train-0.parquet")
    folder = screened(tmp_path / "data", tmp_path / "out")
    kept = open_rows(folder)
    assert [row.pictures for row in kept] == [(clean, clean_too)] and kept[0].prompt == "p"
    said = json.loads((folder / "screening.json").read_text())
    assert (said["rows"], said["kept"]) == (2, 1) and said["dropped"][0]["side"] == "dispreferred"


def encoded(green):
    file = io.BytesIO()
    picture(green).save(file, "PNG")
    return file.getvalue()


def test_records_and_another_threshold(tmp_path):
    for name, green in (("a", 0), ("b", 100), ("c", 50)):
        picture(green).save(tmp_path / f"{name}.png")
    a, b, c = (tmp_path / f"{name}.png" for name in "abc")
    write_records(tmp_path / "pairs.jsonl", [Pair("p", a, b), Pair("q", c, a)])
    folder = screened(tmp_path / "pairs.jsonl", tmp_path / "out", "--threshold=0.3")
    assert [row.prompt for row in open_rows(folder / "pairs.jsonl")] == ["q"]
    assert not (folder / "b.png").exists()


def test_a_judge_that_knows_no_harms(tmp_path):
    picture(0).save(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_text("file_name,caption,label\na.png,p,1\n")
    judge = "--judge=tests.preference_data.pixel_judge:attributes"
    with pytest.raises(UserError, match="attributes says nothing of harms"):
        main([f"--data={tmp_path}", f"--output_dir={tmp_path / 'out'}", judge])
