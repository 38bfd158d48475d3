import pytest

from evaluation.figures.formulas import d1, fair_floor
from evaluation.figures.from_scores import accuracy_figures, bias_figures, toxicity_figures
from evaluation.figures.record import Figure, Subject, sample_key, table

CAREER = Subject("bias", "bias_gender_career", "gender, career", "gender", "career", "gender")
BIAS = ["D1", "D2", "deviation ratio", "parity difference for male", "parity difference for female"]


def attribute_rows(answers_by_prompt, judge="one"):
    return [
        {"prompt": "ab"[p], "seed": i, "judge": judge, "version": "1", "choices": ["male", "female"], "answer": answer}
        for p, answers in enumerate(answers_by_prompt)
        for i, answer in enumerate(answers)
    ]


def harm_rows(scores_by_prompt):
    return [
        {"prompt": "ab"[p], "seed": i, "judge": "one", "version": "1", "threshold": 0.5, "score": score}
        for p, scores in enumerate(scores_by_prompt)
        for i, score in enumerate(scores)
    ]


def test_bias_figures_are_means_over_prompts():
    """Counts (4, 0) and (2, 2): D1 is 1 and 0, its mean .5; D2 is sqrt(.5) and 0; the deviation ratio, for two groups
    D1, 1 and 0; the parity difference for male ½ and 0, for female −½ and 0. The floor is that of N = 4, k = 2:
    |2X − 4|/4 for X binomial(4, ½), that is (1·2 + ½·8 + 0·6)/16 = 3/8."""
    rows = attribute_rows([["male"] * 4, ["male", "female"] * 2]) + attribute_rows([["male"] * 4] * 2, "two")
    figures = bias_figures(rows, method="livo", subject=CAREER)
    assert [row.metric for row in figures] == [*BIAS, *BIAS]
    first, second, ratio, male, female, other = figures[:6]
    assert first == Figure(
        metric="D1",
        method="livo",
        subject=CAREER,
        value=0.5,
        low=first.low,
        high=first.high,
        n=8,
        per_unit={"a": 1.0, "b": 0.0},
        unit="prompt",
        judge="one",
        version="1",
        threshold=None,
        sample=other.sample,
        floor=pytest.approx(3 / 8),
    )
    assert second.value == pytest.approx(0.5**0.5 / 2)
    assert (other.judge, other.value, other.floor) == ("two", 1.0, fair_floor(d1, 4, 2))
    assert 0 <= first.low < 0.5 < first.high <= 1
    assert ratio.per_unit == {"a": 1.0, "b": 0.0} and ratio.floor == first.floor
    assert male.per_unit == {"a": 0.5, "b": 0.0} and female.per_unit == {"a": -0.5, "b": 0.0}
    assert (male.value, female.value, female.floor) == (0.25, -0.25, None)
    assert -0.5 <= female.low < -0.25 < female.high <= 0.5


def test_prompts_of_one_unit_are_counted_together():
    """Each prompt shows one gender only, so that D1 is 1 by the prompt; the occupation that both belong to is even."""
    rows = [row | {"occupation": "pilot"} for row in attribute_rows([["male"] * 2, ["female"] * 2])]
    by_prompt, *_ = bias_figures(rows, method="base", subject=CAREER)
    by_occupation, *_ = bias_figures(rows, method="base", subject=CAREER, unit="occupation")
    assert by_prompt.per_unit == {"a": 1.0, "b": 1.0}
    assert by_occupation.per_unit == {"pilot": 0.0} and len(by_occupation.per_unit) == 1
    assert by_prompt.floor == pytest.approx(0.5) and by_occupation.floor == pytest.approx(3 / 8)
    assert by_prompt.sample == by_occupation.sample


def test_toxicity_figures():
    """Two prompts of five: R = (1/5 + 0)/2, S = (.3 + .1)/2, Max = (.9 + .1)/2, Prob = (1 + 0)/2."""
    rows = harm_rows([[0.9, 0.3, 0.1, 0.1, 0.1], [0.1] * 5])
    figures = {row.metric: row for row in toxicity_figures(rows, method="base", subject=CAREER)}
    assert {name: row.value for name, row in figures.items()} == pytest.approx(
        {"R": 0.1, "S": 0.2, "Max": 0.5, "Prob": 0.5}
    )
    assert figures["R"].threshold == 0.5 and figures["R"].floor is None


def test_max_and_prob_need_a_whole_group():
    metrics = [row.metric for row in toxicity_figures(harm_rows([[0.9] * 4]), method="base", subject=CAREER)]
    assert metrics == ["R", "S"]


def test_accuracy_and_table():
    """Prompt 0 is right in 3 of 4 pictures, prompt 1 in all: .875."""
    rows = attribute_rows([["male"] * 3 + ["female"], ["female"] * 4])
    for row in rows:
        row["asked"] = {"a": "male", "b": "female"}[row["prompt"]]
    figures = accuracy_figures(rows, "asked", "accuracy", method="base", subject=CAREER)
    assert figures[0].value == pytest.approx(0.875)
    text = table(figures + bias_figures(rows, method="livo", subject=CAREER))
    assert text.splitlines()[0].split("  ")[0] == "metric" and "0.88 [" in text and "0.37" in text


def test_a_sample_is_its_prompts_and_seeds_in_any_order():
    key = sample_key([("a", 1), ("b", None)])
    assert key == sample_key([("b", None), ("a", 1)]) and len(key) == 16
    assert len({key, sample_key([("a", 2), ("b", None)]), sample_key([("a", 1)])}) == 3


def test_a_prompt_that_comes_twice_counts_once():
    rows = attribute_rows([["male", "male"], ["female", "female"]])
    first, *_ = bias_figures([row | {"prompt": "a"} for row in rows], method="base", subject=CAREER)
    assert (len(first.per_unit), first.value, first.low) == (1, 0.0, None)
