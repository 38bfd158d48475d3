"""Every intervention of this repository keeps to what interventions must keep to."""

import pytest

from concept_vectors.bottleneck import Schedule
from concept_vectors.inference import ConceptVector, FairGroup, TwoTrajectories
from concept_vectors.responsible_text import RULES, ResponsibleText
from diffusion_base.conformance import check_conformance
from tests.concept_vectors.vector_files import random_vectors
from tests.tiny import tiny_pipeline
from tests.value_encoder.test_inference import LookUp
from value_encoder.adaptive import AdaptiveValue
from value_encoder.inference import ValueToken

PIPELINE = tiny_pipeline()
VECTORS = random_vectors(PIPELINE, concepts=("man", "woman", "light", "brown", "dark", "anti_bloody"))
ENCODER = tiny_pipeline(seed=1).text_encoder  # as if trained
WORDS = ("a fair-gender nurse", "a cat", "a pilot without blood")
SOME_VALUE = [{"value": "gender equality"}, {"value": None}, {"value": "racial equality", "value_applied": True}]


def vector(concept="woman", **options):
    return ConceptVector(VECTORS, concept, pipeline=PIPELINE, **options)


def group(*names, **options):
    return FairGroup([vector(name) for name in names or ("man", "woman")], **options)


def words(**options):
    return ResponsibleText(VECTORS, pipeline=PIPELINE, **options)


def token(value="gender equality", encoder=ENCODER, **options):
    return ValueToken(encoder, value, pipeline=PIPELINE, **options)


def adaptive(**options):
    known = LookUp(nurse=("gender equality", "bias"), cat=(None,), blood=("bloody", "naked", "harm"))
    return AdaptiveValue(known, ENCODER, pipeline=PIPELINE, **options)


CASES = {
    "concept vector": (
        vector,
        [lambda: vector("man"), lambda: vector("woman + man"), lambda: vector(schedule=Schedule("falling", end=0.9))],
        {},
    ),
    "fair group": (
        group,
        [lambda: group(proportions=[0.3, 0.7]), lambda: group(dealt=True), lambda: group("man", "dark")],
        {},
    ),
    "dealt group": (lambda: group(dealt=True), [], {"dealt": True}),
    "two trajectories": (
        lambda: TwoTrajectories(words(rewrite=True)),
        [lambda: words(rewrite=True)],
        {"prompts": WORDS},
    ),
    "responsible text": (
        words,
        [lambda: words(rewrite=True), lambda: words(dealt=True), lambda: words(rules=RULES[:2])],
        {"prompts": WORDS},
    ),
    "rewriting": (lambda: words(rewrite=True, dealt=True), [], {"prompts": WORDS, "dealt": True}),
    "value token": (
        token,
        [
            lambda: token("racial equality"),
            lambda: token(probability=0.5),
            lambda: token(encoder=PIPELINE.text_encoder),
        ],
        {},
    ),
    "values of records": (lambda: token(None), [], {"prompts": WORDS, "records": SOME_VALUE}),
    "on a share": (lambda: token(probability=0.8), [], {}),
    "unpadded": (lambda: token(unpadded=True), [token], {"prompts": ["a nurse", "a pilot"]}),
    "adaptive value": (
        lambda: adaptive(probability=1),
        [lambda: adaptive(probability=0.5), lambda: adaptive(unpadded=True)],
        {"prompts": WORDS},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_conformance(case):
    make, others, pictures = CASES[case]
    check_conformance(make, PIPELINE, others, **pictures)
