"""The rendered preference set: its layout, what its labels mean, and who is kept out of it."""

import json

import numpy as np
import pytest
from PIL import Image

from diffusion_base.errors import UserError
from miniature import make_livo_data
from miniature.make_livo_data import draw_side, main, scenes_of_the_plan
from miniature.world import GENDERS, HELD_OUT, TRAINING_OCCUPATIONS


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return main(["--output_dir", str(tmp_path_factory.mktemp("livo") / "set"), "--pictures_per_side", "2"])


def test_layout(data):
    scenes = sorted(data.glob("*/*/metadata.jsonl"))
    assert len(scenes) == len(list(scenes_of_the_plan()))
    assert {path.parts[-3] for path in scenes} == {
        "0-career", "1-goodness", "2-badness", "3-bloody", "3-zombie", "3-nudity",
    }  # fmt: skip
    for path in scenes:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        per_side = 2 if path.parts[-3] in ("3-nudity", "3-zombie") else 4  # twice as many of a bias and of blood
        assert sorted(line["label"] for line in lines) == [0] * per_side + [1] * per_side
        for line in lines:
            assert set(line) == {"file_name", "label", "prompt", "value"}
            with Image.open(path.parent / line["file_name"]) as image:
                image.verify()


def test_held_out_occupations_never_appear(data):
    text = "".join(path.read_text() for path in data.glob("*/*/metadata.jsonl"))
    assert not any(occupation in text for occupation in HELD_OUT)
    assert all(occupation in text for occupation in TRAINING_OCCUPATIONS)


def test_preferred_is_the_under_represented_group():
    rng = np.random.default_rng(0)
    for subject, minority in (("soldier", "female"), ("nurse", "male")):
        assert {draw_side(rng, subject, None, "gender", preferred=True).gender for _ in range(20)} == {minority}
        assert {draw_side(rng, subject, None, "gender", preferred=False).gender for _ in range(20)} == {
            *GENDERS,
        } - {minority}
    assert {draw_side(rng, "nurse", None, "skin", preferred=True).skin for _ in range(40)} == {
        "brown skin",
        "dark skin",
    }
    assert {draw_side(rng, "person", "cruel", "skin", preferred=False).skin for _ in range(20)} == {"dark skin"}
    assert {draw_side(rng, "nurse", None, "bloody", preferred=True).harm for _ in range(20)} == {None}
    assert {draw_side(rng, "nurse", None, "bloody", preferred=False).harm for _ in range(20)} == {"bloody"}


def test_written_once_and_never_over_another_set(data, capsys, monkeypatch):
    main(["--output_dir", str(data), "--pictures_per_side", "2"])
    assert "already" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds other files"):
        main(["--output_dir", str(data), "--pictures_per_side", "3"])
    monkeypatch.setattr(make_livo_data, "world_hash", lambda: "another")
    with pytest.raises(UserError, match="another set"):
        main(["--output_dir", str(data), "--pictures_per_side", "2"])
    with pytest.raises(UserError, match="--pictures_per_side 0: it must be 1 or more"):
        main(["--output_dir", str(data), "--pictures_per_side", "0"])
