"""The three forms of preference, on disk and turned into one another."""

import json
import re
from pathlib import Path

import pytest

from diffusion_base.errors import UserError
from preference_data import (
    Choice,
    Labelled,
    Pair,
    Scored,
    choices_to_pairs,
    labels_to_pairs,
    labels_to_scores,
    pairs_to_labels,
    read_records,
    schema,
    scores_to_choices,
    scores_to_labels,
    scores_to_pairs,
    write_records,
)
from tests.value_encoder.livo_data import write_livo_data

A, B, C = Path("a.png"), Path("b.png"), Path("c.png")


@pytest.mark.parametrize(
    "records",
    [
        [Pair("a castle", A, B), Pair("", B, C)],
        [Labelled(A, "a nurse", True, "0-career/nurse", "gender equality"), Labelled(B, "a castle", False, "a castle")],
        [Choice("a castle", (A, B, C), 2)],
        [Scored(A, "a castle", 0.5), Scored(B, "", -2.0)],
    ],
)
def test_records_survive_the_disk(tmp_path, records):
    kind = type(records[0])
    inside = [record.__class__.from_row(record.row(Path()), tmp_path, "here") for record in records]
    write_records(tmp_path / "records.jsonl", inside)
    assert read_records(tmp_path / "records.jsonl", kind) == inside
    assert [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()] == [
        record.row(Path()) for record in records
    ]


def test_a_label_s_group_is_its_prompt_unless_said(tmp_path):
    (tmp_path / "labels.jsonl").write_text('{"file_name": "sub/a.png", "prompt": "a castle", "label": 0}\n')
    assert read_records(tmp_path / "labels.jsonl", Labelled) == [
        Labelled(tmp_path / "sub/a.png", "a castle", False, group="a castle", value="")
    ]


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        (Pair, {"prompt": "p", "preferred": "a.png"}, "record 2: 'dispreferred' is missing"),
        (Pair, {"prompt": None, "preferred": "a.png", "dispreferred": "b.png"}, "prompt is None; it must be a text"),
        (Pair, {"prompt": "p", "preferred": "../a.png", "dispreferred": "b.png"}, "leaves its folder"),
        (Pair, {"prompt": "p", "preferred": 3, "dispreferred": "b.png"}, "the name of a file is needed"),
        (Pair, {"prompt": "p", "preferred": "b.png", "dispreferred": "b.png"}, "record 2: both pictures are b.png"),
        (Scored, {"prompt": "p", "file_name": "a.png", "reward": "1"}, "reward is '1'; it must be a finite number"),
        (Scored, {"prompt": "p", "file_name": "a.png", "reward": float("nan")}, "reward is nan; it must be a finite"),
        (Labelled, {"prompt": "p", "file_name": "a.png", "label": True}, r"label is True; it must be 1 \(preferred\)"),
        (Labelled, {"prompt": "p", "file_name": "a.png", "label": 1, "group": 7}, "group is 7; it must be a text"),
        (Labelled, {"prompt": "p", "label": 1}, "'file_name' is missing"),
        (Choice, {"prompt": "p", "file_names": ["a.png"], "choice": 0}, "needs a list of two files or more"),
        (Choice, {"prompt": "p", "file_names": "ab", "choice": 0}, "needs a list of two files or more"),
        (Choice, {"prompt": "p", "file_names": ["a", "b"], "choice": 2}, "is 2; it must be an index from 0 to 1"),
        (Choice, {"prompt": "p", "file_names": ["a", "b"], "choice": True}, "is True; it must be an index"),
    ],
)
def test_faulty_records_are_named(tmp_path, kind, row, message):
    records = [Pair("p", A, B), Labelled(A, "p", True, "p"), Choice("p", (A, B), 0), Scored(A, "p", 1.0)]
    (good,) = [record for record in records if type(record) is kind]
    (tmp_path / "file.jsonl").write_text(f"{json.dumps(good.row(Path()))}\n{json.dumps(row)}\n")
    with pytest.raises(UserError, match=message):
        read_records(tmp_path / "file.jsonl", kind)


def test_a_picture_elsewhere_can_t_be_named(tmp_path):
    with pytest.raises(UserError, match="lies outside .*put it inside"):
        write_records(tmp_path / "set" / "pairs.jsonl", [Pair("p", tmp_path / "a.png", tmp_path / "set" / "b.png")])
    assert not (tmp_path / "set" / "pairs.jsonl").exists()


def test_the_readme_s_lines(tmp_path, monkeypatch):
    """Three scenes of two preferred and two dispreferred pictures: four pairs each. Of rewards .7, .65 and .1 two pairs
    are further apart than the margin."""
    readme = Path(schema.__file__).with_name("README.md").read_text()
    of_livo, of_rewards = re.findall(r"```python\n(.*?)```", readme, flags=re.S)
    write_livo_data(tmp_path / "runs" / "livo_data")
    monkeypatch.chdir(tmp_path)
    exec(of_livo, {})
    pairs = read_records(tmp_path / "runs" / "livo_data" / "pairs.jsonl", Pair)
    assert len(pairs) == 3 * 2 * 2 and all(pair.preferred.is_file() and pair.dispreferred.is_file() for pair in pairs)
    pictures = [pair.preferred for pair in pairs[:1]] + [pair.dispreferred for pair in pairs[:2]]
    folder = tmp_path / "set"
    folder.mkdir()
    for number, picture in enumerate(pictures):
        (folder / f"{number}.png").write_bytes(picture.read_bytes())
    scored = [Scored(folder / f"{number}.png", "a cat", reward) for number, reward in enumerate((0.7, 0.65, 0.1))]
    write_records(folder / "scores.jsonl", scored)
    exec(of_rewards, {})
    chosen = [(pair.preferred.name, pair.dispreferred.name) for pair in read_records(folder / "pairs.jsonl", Pair)]
    assert chosen == [("0.png", "2.png"), ("1.png", "2.png")]


def test_labels_pair_within_group_and_value():
    """Group g: preferred A under v, dispreferred B and C under v and D under w; group h has no preferred one."""
    labels = [
        Labelled(A, "p", True, "g", "v"),
        Labelled(B, "q", False, "g", "v"),
        Labelled(C, "p", False, "g", "v"),
        Labelled(Path("d"), "p", False, "g", "w"),
        Labelled(Path("e"), "p", False, "h", "v"),
        Labelled(Path("f"), "p", True, "i", "v"),
    ]
    assert list(labels_to_pairs(labels)) == [Pair("p", A, B), Pair("p", A, C)]


def test_a_choice_is_a_pair_with_each_other_picture():
    assert list(choices_to_pairs([Choice("p", (A, B, C), 1)])) == [Pair("p", B, A), Pair("p", B, C)]


@pytest.mark.parametrize(("intersections", "of_b"), [("drop", []), ("preferred", [True]), ("dispreferred", [False])])
def test_pairs_become_labels(intersections, of_b):
    """A beats B, B beats C: A won, C lost, B did both; under another prompt B only won."""
    pairs = [Pair("p", A, B), Pair("p", B, C), Pair("q", B, A), Pair("p", A, C)]
    labels = list(pairs_to_labels(pairs, intersections))
    found = {(label.prompt, label.path): label.preferred for label in labels}
    assert found.pop(("p", B), None) == (of_b[0] if of_b else None)
    assert found == {("p", A): True, ("p", C): False, ("q", B): True, ("q", A): False}
    assert all(label.group == label.prompt and label.value == "" for label in labels)


def test_scores_become_what_they_say():
    """Of three pictures of one prompt with rewards 1, 3 and 2, whose mean is 2; another prompt has one picture."""
    scores = [Scored(A, "p", 1.0), Scored(B, "p", 3.0), Scored(C, "p", 2.0), Scored(A, "q", 5.0)]
    assert list(scores_to_labels(scores)) == [Labelled(A, "p", False, "p"), Labelled(B, "p", True, "p")]
    above = [(label.path, label.prompt) for label in scores_to_labels(scores, 2.5) if label.preferred]
    assert above == [(B, "p"), (A, "q")]
    assert list(scores_to_pairs(scores)) == [Pair("p", B, A), Pair("p", C, A), Pair("p", B, C)]
    assert list(scores_to_pairs(scores, margin=1.0)) == [Pair("p", B, A)]
    assert list(scores_to_choices(scores)) == [Choice("p", (A, B, C), 1)]
    assert list(scores_to_choices([Scored(A, "p", 1.0), Scored(B, "p", 1.0)])) == []
    labels = [Labelled(A, "p", True, "p"), Labelled(B, "p", False, "p")]
    assert list(labels_to_scores(labels)) == [Scored(A, "p", 1.0), Scored(B, "p", 0.0)]
