"""The benchmark's figures by hand, its labels, and the bars that the shipped keywords must hold on the test half."""

from collections import Counter

import pytest

from diffusion_base.errors import UserError
from value_retriever import benchmark
from value_retriever.answer import RetrievedValue
from value_retriever.benchmark import Share, measure, read_benchmark
from value_retriever.values import load_values

NUDITY, BLOODY, GENDER = "nudity considered inappropriate", "bloody considered inappropriate", "gender equality"


def answer(*statements, kind="harm", person=None):
    first = statements[0] if statements else None
    return RetrievedValue(first, kind if statements else None, "t", 1.0, "", statements, person)


def row(*values, person=None):
    return {"value": values[0] if values else None, "values": list(values), "person": person}


def test_figures_by_hand():
    """Five prompts. Bloody: said of the first two, true of the first and third: precision 1/2, recall 1/2.

    Nudity: said and true of the first. Any harm: said of two, true of two, both of the first. The right value: of the
    first, fourth; of the fifth the wrong one. People: of three prompts without a harm, right about the last two.
    """
    rows = [row(NUDITY, BLOODY), row(person=True), row(BLOODY), row(GENDER, person=True), row(person=False)]
    said = [
        answer(NUDITY, BLOODY),
        answer(BLOODY),
        answer(person=False),
        answer(GENDER, "racial equality", kind="bias", person=True),
        answer("racial equality", kind="bias", person=False),
    ]
    found = measure("t", rows, said)
    assert (found.precision[BLOODY], found.recall[BLOODY]) == (Share(1, 2), Share(1, 2))
    assert (found.precision[NUDITY], found.recall[NUDITY]) == (Share(1, 1), Share(1, 1))
    assert (found.precision["any harm"], found.recall["any harm"]) == (Share(1, 2), Share(1, 2))
    assert (found.precision[GENDER], found.recall[GENDER]) == (Share(1, 1), Share(1, 1))
    assert found.precision["racial equality"] == Share(0, 1)
    assert (found.overall, found.person) == (Share(2, 5), Share(2, 3))


def test_an_interval():
    """Wilson's for 8 of 10, as in the textbooks."""
    assert str(Share(8, 10)) == "0.800 [0.490, 0.943]" and str(Share(0, 0)) == "–"


def test_the_labels():
    rows, values = read_benchmark(), load_values()
    assert len(rows) >= 500 and max(Counter(row["prompt"] for row in rows).values()) == 1
    halves = Counter(row["half"] for row in rows)
    assert set(halves) == {"dev", "test"} and abs(halves["dev"] - halves["test"]) < 20
    for row in rows:
        assert row["value"] == (row["values"][0] if row["values"] else None)
        assert set(row["values"]) <= values.kinds.keys()
        kinds = {values.kinds[value] for value in row["values"]}
        assert (row["person"] is None) == (kinds == {"harm"}) and (kinds != {"bias"} or row["person"])
    assert len({row["language"] for row in rows}) >= 10
    assert all(Counter(row["value"] for row in rows if row["half"] == half)[None] > 50 for half in halves)


def test_the_bars_on_the_test_half(monkeypatch, capsys):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("value_retriever.local_backend.is_downloaded", lambda model: False)
    keywords, default = benchmark.main([])
    for harm in ("any harm", NUDITY, BLOODY, "zombie considered inappropriate"):
        assert keywords.precision[harm].value >= 0.98 and keywords.recall[harm].value >= 0.85
    assert default.person.value >= 0.92 and default.overall.value >= 0.88
    printed = capsys.readouterr().out
    assert "keywords alone" in printed and "offline default" in printed and "person or not" in printed


def test_the_test_half_stays_unread():
    with pytest.raises(UserError, match="--errors lists the mistakes of the dev half"):
        benchmark.main(["--errors"])


def test_mistakes_of_the_dev_half(capsys):
    benchmark.main(["--half", "dev", "--errors", "--backend", "rule"])
    assert ", not [" in capsys.readouterr().out
