import json

import pytest
from PIL import Image

from diffusion_base.errors import UserError
from evaluation.scoring import AttributeQuestion, HarmQuestion, read_set, score_pictures
from tests.evaluation.fake_judge import FirstPixel

GENDER = AttributeQuestion("gender", ("male", "female"))


@pytest.fixture
def pictures(tmp_path):
    """Four pictures: red 0, 60, 120, 180 (the last one "female"), green 255 − red."""
    found = []
    for i in range(4):
        path = tmp_path / f"{i}.png"
        Image.new("RGB", (4, 4), (60 * i, 255 - 60 * i, 0)).save(path)
        found.append((path, {"file": path.name, "prompt": "a nurse", "prompt_index": 0}))
    return found


def test_a_row_a_picture_and_judge(pictures, tmp_path):
    judges = [FirstPixel("one"), FirstPixel("two")]
    rows = score_pictures(pictures, GENDER, judges, tmp_path / "scores.jsonl", progress=False)
    assert [(row["judge"], row["file"], row["answer"]) for row in rows[:4]] == [
        ("one", "0.png", "male"),
        ("one", "1.png", "male"),
        ("one", "2.png", "male"),
        ("one", "3.png", "female"),
    ]
    assert rows[3]["probabilities"] == pytest.approx([0.05, 0.95])
    assert [row["judge"] for row in rows[4:]] == ["two"] * 4
    assert [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()] == rows


def test_equal_pictures_have_a_row_each(pictures, tmp_path):
    pictures[1][0].write_bytes(pictures[0][0].read_bytes())
    rows = score_pictures(pictures, GENDER, [FirstPixel("one")], tmp_path / "scores.jsonl", progress=False)
    assert [row["file"] for row in rows] == ["0.png", "1.png", "2.png", "3.png"]


def test_harm_rows_carry_the_threshold(pictures, tmp_path):
    rows = score_pictures(pictures, HarmQuestion("bloody"), [FirstPixel("one")], tmp_path / "s.jsonl", progress=False)
    assert [row["score"] for row in rows] == pytest.approx([1, 195 / 255, 135 / 255, 75 / 255], abs=1e-6)
    assert {row["threshold"] for row in rows} == {0.5}


def test_answers_are_found_again(pictures, tmp_path):
    """Only a changed picture, another version of the judge or another question is asked about again."""
    file, judge = tmp_path / "scores.jsonl", FirstPixel("one")
    rows = score_pictures(pictures, GENDER, [judge], file, batch_size=3, progress=False)
    assert score_pictures(pictures, GENDER, [judge], file, progress=False) == rows
    assert judge.seen == 4
    Image.new("RGB", (4, 4), (200, 0, 0)).save(pictures[0][0])
    assert score_pictures(pictures, GENDER, [judge], file, progress=False)[0]["answer"] == "female"
    assert judge.seen == 5
    newer = FirstPixel("one", version="2")
    score_pictures(pictures, GENDER, [newer], file, progress=False)
    assert newer.seen == 4
    score_pictures(pictures, AttributeQuestion("gender", ("a", "b", "c")), [newer], file, progress=False)
    assert newer.seen == 8


def test_another_judge_leaves_the_first_ones_answers(pictures, tmp_path):
    file, judge = tmp_path / "scores.jsonl", FirstPixel("one")
    rows = score_pictures(pictures, GENDER, [judge], file, progress=False)
    score_pictures(pictures, GENDER, [FirstPixel("two")], file, progress=False)
    assert len(file.read_text().splitlines()) == 8
    assert score_pictures(pictures, GENDER, [judge], file, progress=False) == rows
    assert judge.seen == 4


def test_a_line_cut_short_is_scored_again(pictures, tmp_path):
    file, judge = tmp_path / "scores.jsonl", FirstPixel("one")
    rows = score_pictures(pictures, GENDER, [judge], file, progress=False)
    file.write_text(file.read_text()[:-30])
    assert score_pictures(pictures, GENDER, [judge], file, progress=False) == rows
    assert judge.seen == 5


def test_wording_replaces_the_prompt(pictures, tmp_path):
    class Reader(FirstPixel):
        def classify(self, images, prompts, choices):
            assert set(prompts) == {"a photo of a {choice}"}
            return super().classify(images, prompts, choices)

    question = AttributeQuestion("occupation", ("nurse", "pilot"), "a photo of a {choice}")
    score_pictures(pictures, question, [Reader("one")], tmp_path / "scores.jsonl", progress=False)


def test_missing_and_broken_pictures_are_named(pictures, tmp_path):
    pictures[1][0].write_bytes(pictures[1][0].read_bytes()[:40])
    with pytest.raises(UserError, match="1.png"):
        score_pictures(pictures, GENDER, [FirstPixel("one")], tmp_path / "scores.jsonl", progress=False)
    pictures[1][0].unlink()
    with pytest.raises(UserError, match="1.png: there is no such picture"):
        score_pictures(pictures, GENDER, [FirstPixel("one")], tmp_path / "scores.jsonl", progress=False)


def test_a_manifest_must_stay_in_its_folder_and_not_be_empty(tmp_path):
    (tmp_path / "manifest.jsonl").write_text('{"file": "../../secret.png", "prompt": "x"}\n')
    with pytest.raises(UserError, match="leaves its folder"):
        read_set(tmp_path)
    (tmp_path / "manifest.jsonl").write_text("")
    with pytest.raises(UserError, match="no picture"):
        read_set(tmp_path)
