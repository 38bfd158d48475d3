import json
import os
import shutil
import signal

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from diffusion_base.data import load_image
from diffusion_base.errors import UserError
from evaluation.pictures.folders import read_set
from evaluation.scores.asking import score_pictures
from evaluation.scores.questions import AttributeQuestion, HarmQuestion, PreferenceQuestion
from scorers import one_pass
from scorers.aesthetic import AestheticScorer
from scorers.clip import CLIPScorer
from scorers.feature_judge import on_features
from scorers.q16 import Q16Scorer
from scorers.similarity import SimilarityScorer
from tests.evaluation.fake_judge import FirstPixel
from tests.forked import in_process
from tests.scorers.tiny_clip import tiny_clip_folder

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
    file.write_bytes(b'3\n"text"\n' + file.read_bytes()[:-30] + b"\xff\xfe")
    assert score_pictures(pictures, GENDER, [judge], file, progress=False) == rows
    assert judge.seen == 6


def test_a_picture_is_decoded_once_for_all_judges(pictures, tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(one_pass, "load_image", lambda path: decoded.append(path) or load_image(path))
    judges = [FirstPixel("one"), FirstPixel("two")]
    score_pictures(pictures, GENDER, judges, tmp_path / "s.jsonl", num_workers=0, progress=False)
    assert sorted(decoded) == [path for path, _ in pictures] and [judge.seen for judge in judges] == [4, 4]
    later = [judges[0], FirstPixel("three")]
    score_pictures(pictures[:3], GENDER, later, tmp_path / "s.jsonl", num_workers=0, progress=False)
    assert len(decoded) == 7 and judges[0].seen == 4


def test_clip_by_features_says_what_it_says_of_the_pictures(pictures, tmp_path):
    scorer = CLIPScorer.from_pretrained(str(tiny_clip_folder(tmp_path / "clip")))
    for question in (GENDER, HarmQuestion("bloody")):
        plain = score_pictures(pictures, question, [scorer], tmp_path / "plain.jsonl", progress=False)
        judge = on_features(scorer, tmp_path / "features")
        kept = score_pictures(pictures, question, [judge], tmp_path / "kept.jsonl", batch_size=3, progress=False)
        for row, other in zip(plain, kept, strict=True):
            for field in ("probabilities", "score"):
                assert row.pop(field, 0) == pytest.approx(other.pop(field, 0), abs=2e-6)
            assert row == other  # judge, version and threshold too
    assert len(list((tmp_path / "features").iterdir())) == 1


def test_judges_that_rest_on_one_clip_share_its_features(pictures, tmp_path, monkeypatch):
    """Q16, the aesthetic predictor, a similarity and the zero-shot answers: each picture goes through CLIP once."""
    clip = CLIPScorer.from_pretrained(str(tiny_clip_folder(tmp_path / "clip")))
    width = clip.model.config.projection_dim
    torch.manual_seed(0)
    aesthetic = AestheticScorer(clip, torch.nn.Linear(width, 1))
    asked = [
        (clip, GENDER),
        (clip, HarmQuestion("bloody")),
        (Q16Scorer(clip, torch.randn(2, width)), HarmQuestion("inappropriate")),
        (aesthetic, PreferenceQuestion()),
        (SimilarityScorer(clip, scale=100), PreferenceQuestion()),
    ]
    plain = [score_pictures(pictures, question, [judge], tmp_path / "plain.jsonl") for judge, question in asked]
    through, features = [], CLIPScorer.features
    monkeypatch.setattr(CLIPScorer, "features", lambda self, pixels: through.extend(pixels) or features(self, pixels))
    for (judge, question), rows in zip(asked, plain, strict=True):
        kept = score_pictures(pictures, question, [on_features(judge, tmp_path / "features")], tmp_path / "kept.jsonl")
        for row, other in zip(rows, kept, strict=True):
            for field in ("probabilities", "score"):
                assert row.pop(field, 0) == pytest.approx(other.pop(field, 0), rel=1e-5, abs=2e-6)
            assert row == other
    assert len(through) == len({path.read_bytes() for path, _ in pictures})
    with pytest.raises(UserError, match="aesthetic cannot say which of male, female fits"):
        score_pictures(pictures, GENDER, [on_features(aesthetic, tmp_path / "features")], tmp_path / "kept.jsonl")


def test_only_pictures_without_an_answer_need_features(pictures, tmp_path):
    judge = on_features(CLIPScorer.from_pretrained(str(tiny_clip_folder(tmp_path / "clip"))), tmp_path / "features")
    score_pictures(pictures[:3], GENDER, [judge], tmp_path / "s.jsonl", progress=False)
    shutil.rmtree(tmp_path / "features")
    score_pictures(pictures, GENDER, [judge], tmp_path / "s.jsonl", progress=False)
    (shard,) = (tmp_path / "features").glob("*/*.safetensors")
    assert len(load_file(shard)["features"]) == 1


def test_what_several_processes_left_is_taken_up(pictures, tmp_path):
    """As a kill leaves it: parts of two processes, the second one's last line cut short."""
    file, judge = tmp_path / "scores.jsonl", FirstPixel("one")
    rows = score_pictures(pictures, GENDER, [judge], file, progress=False)
    lines = file.read_text().splitlines()
    file.unlink()
    (tmp_path / "scores.jsonl.part-0").write_text(lines[0] + "\n")
    (tmp_path / "scores.jsonl.part-1").write_text(lines[2] + "\n" + lines[3][:-30])
    (tmp_path / "other.jsonl.part-0").write_text(lines[1] + "\n")
    assert score_pictures(pictures, GENDER, [judge], file, progress=False) == rows
    assert judge.seen == 6
    assert sorted(path.name for path in tmp_path.glob("*.jsonl*")) == ["other.jsonl.part-0", "scores.jsonl"]


class Mortal(FirstPixel):
    def classify(self, images, prompts, choices):
        if self.seen == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().classify(images, prompts, choices)


def ask_until_killed(pictures, scores):
    score_pictures(pictures, GENDER, [Mortal("one")], scores, batch_size=2, num_workers=0)


def test_killed_in_the_middle_it_goes_on(pictures, tmp_path):
    assert in_process(ask_until_killed, pictures, tmp_path / "scores.jsonl") == -signal.SIGKILL
    rest = FirstPixel("one")
    rows = score_pictures(pictures, GENDER, [rest], tmp_path / "scores.jsonl", progress=False)
    assert rest.seen == 2 and len(rows) == 4


def test_wording_replaces_the_prompt(pictures, tmp_path):
    class Reader(FirstPixel):
        def classify(self, images, prompts, choices):
            assert set(prompts) == {"a photo of a {choice}"}
            return super().classify(images, prompts, choices)

    question = AttributeQuestion("occupation", ("nurse", "pilot"), "a photo of a {choice}")
    score_pictures(pictures, question, [Reader("one")], tmp_path / "scores.jsonl", progress=False)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_missing_and_broken_pictures_are_named(pictures, tmp_path, num_workers):
    pictures[1][0].write_bytes(pictures[1][0].read_bytes()[:40])
    options = {"num_workers": num_workers, "progress": False}
    with pytest.raises(UserError, match="1.png: not a picture, or a damaged one") as error:
        score_pictures(pictures, GENDER, [FirstPixel("one")], tmp_path / "scores.jsonl", **options)
    assert "\n" not in str(error.value)
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
