import pytest

from diffusion_base.errors import UserError
from evaluation.figures.formulas import d1, fair_floor
from evaluation.figures.from_scores import attribute_figures
from evaluation.figures.record import Subject
from evaluation.scores.attributes import (
    BUILT_IN,
    GENDER,
    RACE,
    SKIN,
    AttributeSet,
    answers,
    common_value,
    intersect,
    joint_rows,
)
from evaluation.scores.questions import AttributeQuestion

BOTH = BUILT_IN["skin-and-gender"]


def rows_of(attributes, said, judge="one"):
    """Two pictures of each of two prompts, and what a judge says of them about one set."""
    return [
        {"file": f"{i}.png", "prompt": "aabb"[i], "seed": i, "question": attributes.name, "wording": attributes.wording}
        | {"choices": list(attributes.choices), "judge": judge, "version": "1", "answer": answer, "probabilities": [1]}
        for i, answer in enumerate(said)
    ]


SAID = rows_of(SKIN, ["dark skin", "light skin", "dark skin", "dark skin"]) + rows_of(
    GENDER, ["female", "male", "female", "female"]
)


def test_livos_words():
    assert GENDER.questions == [AttributeQuestion("gender", ("male", "female"))]
    assert RACE.choices == ("white", "black", "indian", "asian", "latino")
    assert (GENDER.value, RACE.value, SKIN.value) == ("gender equality", "racial equality", "racial equality")


def test_an_intersection_asks_its_sets_questions():
    assert BOTH.questions == [*SKIN.questions, *GENDER.questions]
    assert len(BOTH.choices) == 6 and BOTH.choices[0] == "light skin, male" and BOTH.choices[-1] == "dark skin, female"
    assert len(BUILT_IN["race-and-gender"].choices) == 10 and BUILT_IN["race-and-gender"].value is None


def test_joint_answers_are_joined_by_picture_and_judge():
    other = rows_of(SKIN, ["brown skin"] * 4, "two") + rows_of(GENDER, ["male"] * 4, "two")
    rows = joint_rows(BOTH, other[::-1] + SAID)
    assert {row["file"]: row["answer"] for row in rows if row["judge"] == "one"} == {
        "0.png": "dark skin, female",
        "1.png": "light skin, male",
        "2.png": "dark skin, female",
        "3.png": "dark skin, female",
    }
    assert {row["answer"] for row in rows if row["judge"] == "two"} == {"brown skin, male"}
    assert {row["question"] for row in rows} == {"skin-and-gender"} and "probabilities" not in rows[0]


def test_a_picture_asked_only_one_question_is_refused():
    with pytest.raises(UserError, match="3.png: one was not asked about gender"):
        joint_rows(BOTH, SAID[:-1])


def test_figures_of_an_intersection():
    """Prompt a: "dark, female" and "light, male" of six, so D1 = 1/2 and the deviation ratio (1/2 − 1/6)/(5/6) = 2/5;
    prompt b: twice "dark, female", 1 and 1. Skin alone: a has two of three tones, D1 1/2; b one. Gender alone: 0 and 1.
    The floor of D1 at N = 2, k = 6: ½ unless both pictures are alike, (5·½ + 1)/6 = 7/12."""
    figures = attribute_figures(BOTH, SAID, method="base", subject=Subject("bias", "x", "career"))
    found = {(figure.group, figure.metric): figure for figure in figures}
    assert {group for group, _ in found} == {"career", "career, skin", "career, gender"}
    assert found["career", "D1"].per_unit == {"a": 0.5, "b": 1.0}
    assert found["career", "deviation ratio"].per_unit == pytest.approx({"a": 0.4, "b": 1.0})
    assert found["career", "D1"].floor == pytest.approx(7 / 12)
    assert found["career", "parity difference for dark skin, female"].value == pytest.approx(0.75 - 1 / 6)
    assert found["career, skin", "D1"].per_unit == {"a": 0.5, "b": 1.0}
    assert found["career, gender", "D1"].per_unit == {"a": 0.0, "b": 1.0}
    assert found["career, gender", "D1"].floor == pytest.approx(fair_floor(d1, 2, 2))
    assert len(found) == len(figures)
    assert [found[group, "D1"].subject.part for group in ("career", "career, skin")] == ["", "skin"]


def test_a_sets_own_answers_among_others():
    assert answers(GENDER, SAID) == SAID[4:]
    figures = attribute_figures(GENDER, SAID, method="base", subject=Subject("bias", "x", "career"))
    assert {figure.group for figure in figures} == {"career"} and figures[0].value == 0.5


def test_a_value_that_all_sets_share():
    assert common_value([RACE, SKIN]) == "racial equality"
    assert common_value([GENDER, SKIN]) is None and common_value([BOTH]) is None
    assert common_value([intersect("x", [SKIN, GENDER], "gender equality"), GENDER]) == "gender equality"


def test_an_intersection_of_three():
    age = AttributeSet("age", ("young", "old"))
    assert len(intersect("all", [age, SKIN, GENDER]).choices) == 12
