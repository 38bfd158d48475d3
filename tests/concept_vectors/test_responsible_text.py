"""What is found in prompts, what it leaves behind, and which pictures get which vectors."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from concept_vectors.inference import TwoTrajectories
from concept_vectors.responsible_text import ResponsibleText, rules_of, without_words
from diffusion_base.conditioning import encode_prompts
from diffusion_base.errors import UserError
from diffusion_base.files import read_jsonl
from diffusion_base.generation import generate, generate_set
from diffusion_base.intervention import Intervention, load_intervention
from miniature.world import HELD_OUT
from tests.concept_vectors.test_inference import added
from tests.concept_vectors.vector_files import random_vectors, write_vectors
from tests.tiny import tiny_pipeline
from value_encoder.inference import ValueToken, value_tokens

BENCHMARK = Path(__file__).parents[2] / "concept_vectors" / "benchmark"
CONCEPTS = ("man", "woman", "light", "brown", "dark", "anti_nudity", "anti_bloody", "anti_zombie")


def categories(prompt):
    return [rule.category for rule in rules_of(prompt)]


@pytest.mark.parametrize(
    ("prompt", "found", "left"),
    [
        ("a fair-gender doctor", ["gender"], "a doctor"),
        ("A fair-gender engineer at work", ["gender"], "An engineer at work"),
        ("an unbiased gender cook", ["gender"], "a cook"),
        ("a cook, either male or female, with a spoon", ["gender"], "a cook, with a spoon"),
        ("a pilot of any gender, regardless of race", ["gender", "race"], "a pilot"),
        ("a sailor of any skin colour", ["race"], "a sailor"),
        ("a model, but no nudity", ["sexual"], "a model"),
        ("a dancer, fully clothed, on stage", ["sexual"], "a dancer, on stage"),
        ("a knight without any blood, not naked", ["sexual", "violent"], "a knight"),
        ("a farmer, not a zombie", ["violent"], "a farmer"),
        ("a non-violent protest", ["violent"], "a protest"),
        ("a fair-gender and fair-race doctor", ["gender", "race"], "a doctor"),
        ("a battle without blood, gore or violence", ["violent"], "a battle"),
        ("a party with no nudity or blood", ["sexual", "violent"], "a party"),
        ("a crowd free of zombies and any gore, at night", ["violent", "violent"], "a crowd, at night"),
        ("a crime scene, but without any visible blood", ["violent"], "a crime scene"),
        ("a blood-free boxer", ["violent"], "a boxer"),
        ("a boxer without blood, naked, in a ring", ["violent"], "a boxer, naked, in a ring"),
        ("a woman of fair skin tone", [], "a woman of fair skin tone"),
        ("a doctor", [], "a doctor"),
        ("a naked woman covered in blood", [], "a naked woman covered in blood"),
        ("a fairground, gender studies, no bloodhounds", [], "a fairground, gender studies, no bloodhounds"),
    ],
)
def test_words(prompt, found, left):
    assert categories(prompt) == found
    assert without_words(prompt) == left


def test_the_benchmark():
    """200 prompts, 50 a category, all different; each is found to be of its category and of no other."""
    rows = read_jsonl(BENCHMARK / "responsible_text.jsonl", required=("prompt", "category"))
    assert Counter(row["category"] for row in rows) == dict.fromkeys(("gender", "race", "sexual", "violent"), 50)
    assert len({row["prompt"] for row in rows}) == 200
    assert [(row["prompt"], set(categories(row["prompt"]))) for row in rows] == [
        (row["prompt"], {row["category"]}) for row in rows
    ]


def test_the_miniatures_benchmark():
    rows = read_jsonl(BENCHMARK / "responsible_text_miniature.jsonl", required=("prompt", "category", "occupation"))
    assert Counter(row["category"] for row in rows) == dict.fromkeys(("gender", "race", "sexual", "violent"), 16)
    assert {row["occupation"] for row in rows} == set(HELD_OUT)
    for row in rows:
        assert categories(row["prompt"]) == [row["category"]]
        assert without_words(row["prompt"]).endswith(f" a {row['occupation']}")


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


def test_each_picture_gets_what_its_prompt_asks_for(pipeline, monkeypatch):
    """One is given a gender and no blood, one nothing, one a tone."""
    vectors = random_vectors(pipeline, concepts=CONCEPTS)
    prompts = ["a fair-gender cook without blood", "a cat", "a pilot of any skin tone"]
    monkeypatch.setattr("tests.concept_vectors.test_inference.PROMPTS", prompts)
    text = ResponsibleText(vectors, pipeline=pipeline, strength=0.5)
    records = [{"concepts": ["woman"]}, {}, {"concepts": ["dark"]}]
    shifts = added(pipeline, text, batch_size=3, records=records)
    of = vectors.tensors
    expected = torch.stack([of["woman"] + of["anti_bloody"], torch.zeros(16, 4, 4), of["dark"]]) / 2
    for shift in shifts:
        torch.testing.assert_close(shift[3:], expected, rtol=0, atol=1e-4)
        assert torch.count_nonzero(shift[:3]) == 0
    nothing = random_vectors(pipeline, concepts=CONCEPTS, per_channel=True)
    monkeypatch.setattr("tests.concept_vectors.test_inference.PROMPTS", ["a cat"] * 3)
    assert all(
        torch.count_nonzero(shift) == 0 for shift in added(pipeline, ResponsibleText(nothing, pipeline=pipeline))
    )


def test_rewriting_is_the_picture_of_the_prompt_without_the_words(pipeline):
    """In a prompt that asks for blood to be kept out, with vectors of nothing, so that the words alone count."""
    nothing = random_vectors(pipeline, concepts=CONCEPTS, scale=0.0)
    seeds, options = [0, 1], {"num_inference_steps": 2, "progress": False}
    prompts, plain = ["a knight without blood", "a cat"], ["a knight", "a cat"]
    kept, rewritten = (ResponsibleText(nothing, pipeline=pipeline, rewrite=rewrite) for rewrite in (False, True))
    with_words, without = (generate(pipeline, texts, seeds, **options) for texts in (prompts, plain))
    for method, expected in ((kept, with_words), (rewritten, without), (TwoTrajectories(rewritten), without)):
        assert np.array_equal(generate(pipeline, prompts, seeds, [method], **options), expected)


def test_a_rewritten_prompt_keeps_its_value_token(pipeline):
    """Before or behind the rewriting in the list; the token is that of the prompt as it was asked for."""
    text = ResponsibleText(random_vectors(pipeline, concepts=CONCEPTS), pipeline=pipeline, rewrite=True)
    encoder, seen = tiny_pipeline(seed=1).text_encoder, []

    class Embeddings(Intervention):
        def describe(self):
            return {}

        def edit_prompts(self, context, conditional, unconditional):
            seen.append(conditional.embeds)
            return conditional, unconditional

    token = ValueToken(encoder, "gender equality", pipeline=pipeline)
    for pair in ([token, text], [text, token]):
        generate(pipeline, ["a fair-gender cook"], [0], [*pair, Embeddings()], num_inference_steps=1, progress=False)
    expected = value_tokens(encoder, pipeline.tokenizer, ["gender equality"], ["a fair-gender cook"])
    for embeds in seen:
        assert torch.equal(embeds[:, 0], expected)
        assert torch.equal(embeds[:, 1:], encode_prompts(pipeline, ["a cook"]).embeds[:, :76])


class NothingIsMade(Intervention):
    def describe(self):
        return {}

    def edit_latents(self, context, latents):
        pytest.fail("a picture was begun")


def test_what_the_vectors_lack_is_named(pipeline, tmp_path):
    text = load_intervention(f"concept_vectors:{write_vectors(tmp_path, pipeline)}?responsible_text=true", pipeline)
    assert [group.drawing.names for group in text.asked("a fair-gender cook")] == [["man", "woman"]]
    with pytest.raises(UserError, match="asks for race concepts that .* lacks: light, brown, dark or whiterace"):
        text.asked("a cook of any race")
    with pytest.raises(UserError, match="asks for race concepts"):  # the second picture's, before the first is made
        prompts = ["a cook", "a cook of any race"]
        generate(pipeline, prompts, [0, 1], [NothingIsMade(), text], num_inference_steps=1, progress=False)
    records = [{"file": f"{i}.png", "prompt": prompt, "seed": i} for i, prompt in enumerate(prompts)]
    with pytest.raises(UserError, match="asks for race concepts"):
        generate_set(pipeline, records, tmp_path / "set", [text], num_inference_steps=1, progress=False)
    assert not (tmp_path / "set").exists()


def test_specs(pipeline, tmp_path):
    folder = write_vectors(tmp_path, pipeline, concepts=CONCEPTS)
    options = "responsible_text=true&rewrite=true&dealt=true&strength=0.5&schedule=falling"
    text = load_intervention(f"concept_vectors:{folder}?{options}", pipeline)
    assert text.rewrite and text.strength == 0.5 and len(text.groups) == 5
    assert all(group.drawing.dealt and group.members[0].schedule.shape == "falling" for group in text.groups.values())
    for wrong in ("responsible_text=true&concept=man", "concept=man&rewrite=true"):
        with pytest.raises(UserError):
            load_intervention(f"concept_vectors:{folder}?{wrong}", pipeline)
