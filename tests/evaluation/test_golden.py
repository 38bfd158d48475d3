"""Scores to figures, exact on any machine: what an earlier version found in the same answers of judges.

golden/scores/ holds the answers about small sets of pictures of the miniature (`eval.sh` with 8 pictures a prompt,
`concept_vectors.sh` at its smallest), golden/figures.json the values found in them in November 2026. Intervals are not
among them: how they are computed may improve.
"""

import json
from functools import partial
from pathlib import Path

import pytest

from diffusion_base.files import read_jsonl
from evaluation.figures.from_scores import accuracy_figures, attribute_figures, bias_figures, toxicity_figures
from evaluation.figures.record import Subject
from evaluation.figures.stored import to_row
from evaluation.protocols.retrieved import retrieved_bias_figures, retrieved_toxicity_figures, sets_of_values
from evaluation.scores.attributes import GENDER, SKIN

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = json.loads((GOLDEN / "figures.json").read_text())


def of_occupations(rows, **about):
    """The WinoBias protocol of the concept vectors: genders by the occupation, and whether that stays."""
    shown, kept = ([row for row in rows if row["question"] == question] for question in ("gender", "occupation"))
    return bias_figures(shown, unit="occupation", **about) + accuracy_figures(
        kept, "occupation", "occupation accuracy", **about
    )


FIGURES = {
    "bias_gender_career": partial(attribute_figures, GENDER),
    "bias_skin_badness": partial(attribute_figures, SKIN),
    "toxicity_nudity_nudity": toxicity_figures,
    "retrieve_career": partial(retrieved_bias_figures, sets_of_values([GENDER, SKIN])),
    "retrieve_nudity": retrieved_toxicity_figures,
    "winobias_gender": of_occupations,
    "text_skin": partial(bias_figures, unit="occupation"),
    "text_bloody": toxicity_figures,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_figures_do_not_move(name):
    """Sums of floating-point numbers may differ in their last digit between processors, and by no more."""
    rows = read_jsonl(GOLDEN / "scores" / f"{name}.jsonl")
    subject = Subject("bias", name, EXPECTED[name][0]["group"])
    figures = [to_row(figure) for figure in FIGURES[name](rows, method="base", subject=subject)]
    assert len(figures) == len(EXPECTED[name])
    for row, expected in zip(figures, EXPECTED[name], strict=True):
        assert {key: row[key] for key in expected} == {
            key: pytest.approx(value, rel=1e-14, abs=1e-15) if isinstance(value, float | dict) else value
            for key, value in expected.items()
        }
