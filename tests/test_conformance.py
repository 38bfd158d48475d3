"""Every intervention of this repository keeps to what interventions must keep to."""

import tempfile
from pathlib import Path

import pytest
import torch

from concept_vectors.bottleneck import Schedule
from concept_vectors.inference import ConceptVector, FairGroup, TwoTrajectories
from concept_vectors.responsible_text import RULES, ResponsibleText
from diffusion_base.conformance import check_conformance
from diffusion_base.weights import PublishedWeights
from latent_directions.best_of_seeds import BestOfSeeds
from latent_directions.inference import FairDirections, LatentDirection
from latent_directions.weights import Weights
from tests.concept_vectors.vector_files import random_vectors
from tests.latent_directions.judges import Brightness
from tests.latent_directions.latents import random_directions
from tests.tiny import tiny_pipeline
from tests.value_encoder.test_inference import LookUp
from value_encoder.adaptive import AdaptiveValue
from value_encoder.inference import ValueToken

PIPELINE = tiny_pipeline()
VECTORS = random_vectors(PIPELINE, concepts=("man", "woman", "light", "brown", "dark", "anti_bloody"))
DIRECTIONS = random_directions(PIPELINE)
ENCODER = tiny_pipeline(seed=1).text_encoder  # as if trained
FOLDER = tempfile.TemporaryDirectory()
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


def direction(name="female", **options):
    return LatentDirection(DIRECTIONS, name, pipeline=PIPELINE, **options)


def directions(*names, **options):
    return FairDirections([direction(name) for name in names or ("male", "female")], **options)


def best_of(n=3, **options):
    return BestOfSeeds(Brightness(), n, **{"preview_steps": 1, **options})


def adaptive(**options):
    known = LookUp(nurse=("gender equality", "bias"), cat=(None,), blood=("bloody", "naked", "harm"))
    return AdaptiveValue(known, ENCODER, pipeline=PIPELINE, **options)


def weights(*layers, **options):
    """A part of another UNet."""
    tuned, tensors = tiny_pipeline(seed=2).unet.state_dict(), {}
    for layer in layers or ("mid_block.attentions.0.transformer_blocks.0.attn2.to_v",):
        tensors[f"{layer}.weight"] = tuned[f"{layer}.weight"]
    torch.save(tensors, file := Path(FOLDER.name) / f"{len(layers)}.pt")
    return PublishedWeights(file, pipeline=PIPELINE, **options)


def lora(**options):
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer in ("lora_unet_conv_out", "lora_te_text_model_encoder_layers_0_mlp_fc2"):
        own = PIPELINE.unet.conv_out if "unet" in layer else PIPELINE.text_encoder.encoder.layers[0].mlp.fc2
        out, *rest = own.weight.shape
        tensors[f"{layer}.lora_down.weight"] = torch.randn(2, *rest, generator=generator)
        tensors[f"{layer}.lora_up.weight"] = torch.randn(out, 2, *([1] * (len(rest) - 1)), generator=generator)
    torch.save(tensors, file := Path(FOLDER.name) / "lora.pt")
    return PublishedWeights(file, pipeline=PIPELINE, **options)


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
    "published weights": (weights, [lambda: weights("conv_in", "conv_out"), lora], {}),
    "published LoRA": (lora, [lambda: lora(strength=-2.0)], {}),
    "latent direction": (
        direction,
        [
            lambda: direction("male"),
            lambda: direction("female + dark"),
            lambda: direction(step=10),
            lambda: direction(fit="means"),
            lambda: direction(weight=9.0),
            lambda: direction(weight=Weights(10.0, {"nurse": -3.0})),
            lambda: direction(units="noise"),
            lambda: direction(keep_norm=True),
        ],
        {},
    ),
    "fair directions": (directions, [lambda: directions("male", "dark"), lambda: directions(dealt=True)], {}),
    "dealt directions": (lambda: directions(dealt=True, proportions=[0.3, 0.7]), [], {"dealt": True}),
    "best of seeds": (
        best_of,
        [lambda: best_of(2), lambda: best_of(preview_steps=2), lambda: best_of(group=("dark", "bright"))],
        {},
    ),
    "best of seeds, dealt": (lambda: best_of(group=("dark", "bright"), dealt=True), [], {"dealt": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_conformance(case):
    make, others, pictures = CASES[case]
    check_conformance(make, PIPELINE, others, **pictures)
