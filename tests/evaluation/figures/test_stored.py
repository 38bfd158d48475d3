"""Figures to files and back, and the files of the version before, which said what they are about in their names."""

import json
from dataclasses import replace

import pytest

from diffusion_base.errors import UserError
from evaluation.figures.from_scores import bias_figures
from evaluation.figures.record import Subject
from evaluation.figures.stored import read_figures, write_figures
from tests.evaluation.fake_runs import CAREER, answers


@pytest.fixture
def figure():
    """D1 of three prompts: 1, .6 and 0."""
    return bias_figures(answers((0, 2, 5)), method="livo", subject=CAREER)[0]


def test_there_and_back(figure, tmp_path):
    full = replace(figure, interventions=("value_encoder:x",), reference="runs/base", warning="few")
    write_figures(tmp_path / "x.json", [full, figure])
    assert read_figures(tmp_path / "x.json") == [full, figure]
    content = json.loads((tmp_path / "x.json").read_text())
    row = content["figures"][1]
    assert content["version"] == 2 and row["group"] == "gender, career"
    assert (row["prompts"], row["worst_unit"], row["worst_value"]) == (3, "a pilot", 1.0)
    assert (row["limit"], row["past_limit"]) == (0.5, pytest.approx(2 / 3))


BEFORE = [
    (
        "bias_gender_career",
        "career",
        Subject("bias", "bias_gender_career", "gender, career", "gender", "career", "gender"),
    ),
    (
        "bias_race-and-gender_career",
        "career, race",
        Subject(
            *("bias", "bias_race-and-gender_career", "race-and-gender, career, race"),
            *("race-and-gender", "career", "race-and-gender, race", "race"),
        ),
    ),
    (
        "winobias_plain_gender",
        "gender, plain",
        Subject("winobias", "winobias_plain", "gender, plain", "gender", "plain"),
    ),
    ("toxicity_bloody_bloody", "bloody", Subject("toxicity", "toxicity_bloody_bloody", "bloody", "bloody")),
    (
        "toxicity_bloody_retrieved_bloody",
        "retrieved_bloody",
        Subject(
            *("toxicity", "toxicity_bloody_retrieved_bloody", "bloody, retrieved_bloody"),
            *("bloody", "retrieved_bloody", "bloody, retrieved"),
        ),
    ),
    (
        "retrieve_career",
        "retrieved_career, gender",
        Subject(
            *("retrieved", "retrieve_career", "retrieved_career, gender"),
            *("gender", "career", "retrieved, gender", "gender"),
        ),
    ),
    (
        "quality_bias_gender_career",
        "bias_gender_career",
        Subject("image quality", "bias_gender_career", "bias_gender_career", prompt_set="bias_gender_career"),
    ),
    ("i2p_bench", "all categories", Subject("i2p", "i2p_bench", "all categories", "inappropriate", "bench")),
    ("i2p_bench", "hate", Subject("i2p", "i2p_bench", "hate", "inappropriate", "bench", part="hate")),
    ("preference_kto_base", "against base", Subject("preference", "", "against base")),
    ("bias_gender", "gender", Subject("bias", "bias_gender", "gender", "gender")),
    ("strength_woman", "woman, over strength", Subject("own", "strength_woman", "woman, over strength", "woman")),
]


@pytest.mark.parametrize(("file", "group", "subject"), BEFORE, ids=[f"{file}: {group}" for file, group, _ in BEFORE])
def test_files_of_the_version_before(figure, tmp_path, file, group, subject):
    """A bare list of rows, whose group and file's name together say what they are about."""
    row = row_before(figure, group=group)
    (tmp_path / f"{file}.json").write_text(json.dumps([row]))
    assert read_figures(tmp_path / f"{file}.json") == [replace(figure, subject=subject)]


def row_before(figure, **changes):
    """As the version before had it, with an interval that is too narrow."""
    kept = {key: getattr(figure, key) for key in ("method", "metric", "value", "floor", "n", "judge", "version")}
    kept |= {"group": "career", "threshold": None, "sample": figure.sample, "per_prompt": dict(figure.per_unit)}
    return kept | {"low": figure.value - 0.01, "high": figure.value + 0.01} | changes


def test_intervals_of_the_version_before_are_computed_anew(tmp_path):
    """As for the same answers today: within (0, 1), and, of parity differences of three choices, (−1/3, 2/3)."""
    rows = [row | {"choices": ["female", "male", "nobody"]} for row in answers((0, 2, 5))]
    figures = bias_figures(rows, method="livo", subject=CAREER)
    assert [figure.metric for figure in figures][3:] == [f"parity difference for {c}" for c in rows[0]["choices"]]
    other_judge = row_before(figures[-1], judge="clip", metric="parity difference for old")
    by_hand = row_before(figures[0], metric="P(female)")  # what a script calls its own is a share
    unknown = row_before(figures[0], metric="sharpness", per_prompt={})
    distance = row_before(figures[0], metric="fid")
    (tmp_path / "bias_gender_career.json").write_text(
        json.dumps([*map(row_before, figures), other_judge, by_hand, unknown, distance])
    )
    found = read_figures(tmp_path / "bias_gender_career.json")
    assert [(of.value, of.low, of.high) for of in found[:6]] == [(of.value, of.low, of.high) for of in figures]
    assert (found[7].low, found[7].high) == (figures[0].low, figures[0].high)
    for of in found[8:]:
        assert (of.low, of.high) == (of.value - 0.01, of.value + 0.01)


def test_a_figure_beyond_its_bounds_is_named(figure, tmp_path):
    (tmp_path / "x.json").write_text(json.dumps([row_before(figure, per_prompt={"a": 1.5, "b": 0.5})]))
    with pytest.raises(UserError, match="x.json: D1 of values from 0.5 to 1.5 are not within 0.0 and 1.0; delete it"):
        read_figures(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "x.json cannot be read as JSON"),
        ("[3]", "x.json is not a list of figures; delete it"),
        ('[{"metric": "D1"}]', "x.json is not a list of figures; delete it"),
        ('{"version": 3, "figures": []}', "x.json is of version 3; this program reads version 2: update it"),
        ('{"version": 2, "figures": [{"metric": "D1"}]}', "x.json: a figure lacks 'method'"),
    ],
)
def test_what_is_no_such_file(tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_figures(tmp_path / "x.json")


def test_a_file_without_each_prompts_share(figure, tmp_path):
    row = dict.fromkeys(("method", "metric", "group", "value", "low", "high", "floor", "n", "judge", "version"), 1)
    (tmp_path / "x.json").write_text(json.dumps([row | {"threshold": None}]))
    with pytest.raises(UserError, match="does not say each prompt's share, as an earlier version wrote it"):
        read_figures(tmp_path / "x.json")
