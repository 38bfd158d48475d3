"""Embeddings are the pipeline's own; the extra token has one place."""

import warnings

import pytest
import torch

from diffusion_base.conditioning import CachedPrompts, encode_negative_prompts, encode_prompts, prepend_token
from tests.tiny import tiny_pipeline

PROMPTS = ["a nurse", "", "a cat, é 猫"]


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_embeddings_are_the_pipelines(kind):
    pipeline = tiny_pipeline(kind)
    theirs = pipeline.encode_prompt(
        PROMPTS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True, negative_prompt=None
    )
    ours, negative = encode_prompts(pipeline, PROMPTS), encode_negative_prompts(pipeline, [""] * 3)
    assert torch.equal(ours.embeds, theirs[0]) and torch.equal(negative.embeds, theirs[1])
    if kind == "sdxl":
        assert torch.equal(ours.pooled, theirs[2]) and torch.equal(negative.pooled, theirs[3])
        assert not negative.embeds.any()
    else:
        assert ours.pooled is None and negative.embeds.any()


def test_only_unset_negative_prompts_are_zeros_in_sdxl():
    pipeline = tiny_pipeline("sdxl")
    negative = encode_negative_prompts(pipeline, ["", "weird"])
    given = encode_prompts(pipeline, ["", "weird"])
    assert not negative.embeds[0].any() and not negative.pooled[0].any()
    assert torch.equal(negative.embeds[1], given.embeds[1]) and torch.equal(negative.pooled[1], given.pooled[1])


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_cached_prompts_are_encoded_once(kind):
    pipeline = tiny_pipeline(kind)
    encode = CachedPrompts(pipeline)
    first = encode(["a nurse", "a cat"])
    pipeline.text_encoder.register_forward_pre_hook(lambda *_: pytest.fail("encoded again"))
    again = encode(["a cat", "a nurse", "a cat"])
    assert torch.equal(again.embeds, first.embeds[[1, 0, 1]])
    if kind == "sdxl":
        assert torch.equal(again.pooled, first.pooled[[1, 0, 1]])


def test_the_cache_is_bounded_and_forgets_what_was_not_used_for_longest():
    """Room for two rows of 77 × (32 + 0.2) numbers; the embeddings are the same, kept or not."""
    pipeline, encoded = tiny_pipeline("sdxl"), []
    pipeline.text_encoder.register_forward_pre_hook(lambda *_: encoded.append(1))
    row = 4 * (77 * 32 + 16)
    cache = CachedPrompts(pipeline, limit=2 * row + 1)
    first = cache(["a nurse", "a cat"])
    cache(["a nurse", "a dog"])  # the cat goes
    assert len(encoded) == 3 and list(cache.kept) == ["a nurse", "a dog"] and cache.size == 2 * row
    again = cache(["a nurse", "a cat", "a dog"])  # the dog goes before it is used
    assert len(encoded) == 5 and cache.size == 2 * row
    assert torch.equal(again.embeds[:2], first.embeds) and torch.equal(again.pooled[:2], first.pooled)
    tiny = CachedPrompts(pipeline, limit=1)
    assert torch.equal(tiny(["a nurse", "a cat"]).embeds, first.embeds) and tiny.size == 0


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_prompt_that_just_fits_and_one_that_does_not(kind):
    pipeline = tiny_pipeline(kind)
    fits = " ".join("a" * 75)
    encode_prompts(pipeline, [fits])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encode_prompts(pipeline, [fits, fits + " one more"])
    assert [str(warning.message) for warning in caught] == [
        f"the prompt is longer than 77 positions and its end was cut off: lost 'one more' of {fits + ' one more'!r}"
    ]


def test_prepend_token():
    token = torch.full((2, 3), 9.0)
    embeds = torch.arange(24.0).reshape(2, 4, 3)
    same_length = prepend_token(token, embeds, length=4)
    assert same_length.shape == (2, 4, 3)
    assert torch.equal(same_length[:, 0], token) and torch.equal(same_length[:, 1:], embeds[:, :3])
    longer = prepend_token(token, embeds, length=None)
    assert longer.shape == (2, 5, 3) and torch.equal(longer[:, 1:], embeds)
