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
from evaluation.figures.from_scores import accuracy_figures, bias_figures, toxicity_figures
from evaluation.protocols.retrieved import by_value, retrieved_bias_figures, retrieved_toxicity_figures
from evaluation.scores.attributes import GENDER, SKIN, attribute_figures

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = json.loads((GOLDEN / "figures.json").read_text())


def of_occupations(rows, *, method, group):
    """The WinoBias protocol of the concept vectors: genders by the occupation, and whether that stays."""
    shown, kept = ([row for row in rows if row["question"] == question] for question in ("gender", "occupation"))
    return bias_figures(shown, method=method, group=group, unit="occupation") + accuracy_figures(
        kept, "occupation", "occupation accuracy", method=method, group=group
    )


FIGURES = {
    "bias_gender_career": partial(attribute_figures, GENDER),
    "bias_skin_badness": partial(attribute_figures, SKIN),
    "toxicity_nudity_nudity": toxicity_figures,
    "retrieve_career": partial(retrieved_bias_figures, by_value([GENDER, SKIN])),
    "retrieve_nudity": retrieved_toxicity_figures,
    "winobias_gender": of_occupations,
    "text_skin": partial(bias_figures, unit="occupation"),
    "text_bloody": toxicity_figures,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_figures_do_not_move(name):
    rows = read_jsonl(GOLDEN / "scores" / f"{name}.jsonl")
    figures = FIGURES[name](rows, method="base", group=EXPECTED[name][0]["group"])
    assert [{key: row[key] for key in EXPECTED[name][0]} for row in figures] == EXPECTED[name]
