"""Without interventions: the pipeline's own pictures, each from its own seed; bad calls are refused."""

import warnings

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler

from diffusion_base.errors import UserError
from diffusion_base.generation import generate
from diffusion_base.intervention import Intervention
from tests.tiny import tiny_pipeline

PROMPTS = ["a nurse", "a cat on a mat", "a nurse"]
SEEDS = [3, 14, 15]
QUICK = {"num_inference_steps": 3, "guidance_scale": 4.0, "progress": False}


def by_the_pipeline(pipeline, prompts=PROMPTS, seeds=SEEDS, **options):
    options = {"num_inference_steps": 3, "guidance_scale": 4.0, **options}
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return pipeline(prompts, generator=generators, **options).images


def same(images, others):
    return [np.array_equal(image, other) for image, other in zip(images, others, strict=True)]


class Latents(Intervention):
    """Changes nothing and keeps the noise that the pictures start from."""

    def __init__(self):
        self.seen = {}

    def edit_latents(self, context, latents):
        self.seen |= dict(zip(context.seeds, latents, strict=True))
        return latents

    def describe(self):
        return {}


class FinalLatents(Latents):
    """Keeps the latents in float32, where pictures would hide a difference behind their 8 bits."""

    def end_of_step(self, context, latents):
        self.seen |= dict(zip(context.seeds, latents, strict=True))
        return latents


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_no_intervention_is_the_pipeline_bit_for_bit(kind, guidance_scale):
    pipeline = tiny_pipeline(kind)
    latents = FinalLatents()
    ours = generate(pipeline, PROMPTS, SEEDS, [latents], **QUICK | {"guidance_scale": guidance_scale})
    assert all(same(ours, by_the_pipeline(pipeline, guidance_scale=guidance_scale)))
    assert all(same(ours, generate(pipeline, PROMPTS, SEEDS, **QUICK | {"guidance_scale": guidance_scale})))
    theirs = by_the_pipeline(pipeline, guidance_scale=guidance_scale, output_type="latent")
    assert torch.equal(torch.stack([latents.seen[seed] for seed in SEEDS]), theirs)


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_negative_prompts_and_size_are_the_pipelines(kind):
    pipeline = tiny_pipeline(kind)
    negative = ["blurry", "a dog", "red"]
    ours = generate(pipeline, PROMPTS, SEEDS, negative_prompt=negative, height=24, width=40, **QUICK)
    assert ours[0].size == (40, 24)
    assert all(same(ours, by_the_pipeline(pipeline, negative_prompt=negative, height=24, width=40)))


def test_stochastic_schedulers_draw_from_the_pictures_own_generators():
    pipeline = tiny_pipeline()
    pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
    torch.manual_seed(0)
    ours = generate(pipeline, PROMPTS, SEEDS, **QUICK)
    torch.manual_seed(1)
    assert all(same(ours, by_the_pipeline(pipeline)))
    reversed_order = generate(pipeline, PROMPTS[::-1], SEEDS[::-1], **QUICK)
    assert all(np.allclose(a, b, atol=1) for a, b in zip(ours, reversed_order[::-1], strict=True))


def test_noise_depends_on_the_seed_alone():
    pipeline = tiny_pipeline()
    runs = []
    for batch_size, prompts, seeds in [(8, PROMPTS, SEEDS), (1, PROMPTS, SEEDS), (2, ["x", "y", "z"], SEEDS[::-1])]:
        latents = Latents()
        generate(pipeline, prompts, seeds, [latents], batch_size=batch_size, **QUICK)
        runs.append(torch.stack([latents.seen[seed] for seed in SEEDS]))
    assert torch.equal(runs[0], runs[1]) and torch.equal(runs[0], runs[2])
    assert torch.equal(runs[0][0], torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(SEEDS[0])))


def test_repeated_prompts_are_encoded_once():
    pipeline = tiny_pipeline()
    calls = []
    handle = pipeline.text_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    generate(pipeline, ["a nurse"] * 6, range(6), batch_size=2, **QUICK)
    handle.remove()
    assert len(calls) == 2  # the prompt and the negative prompt, not once a chunk


def test_bf16_stays_close():
    pipeline = tiny_pipeline()
    exact = np.stack(generate(pipeline, PROMPTS, SEEDS, **QUICK)).astype(float)
    quick = np.stack(generate(pipeline, PROMPTS, SEEDS, mixed_precision="bf16", **QUICK)).astype(float)
    assert 0 < np.abs(exact - quick).mean() < 3
    assert not pipeline.unet._forward_hooks


def test_long_prompt_is_cut_with_one_warning_that_quotes_what_was_lost():
    pipeline = tiny_pipeline()
    fits = " ".join("a" * 75)
    long = fits + " lost end"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # as in use, where a repeated warning is shown once
        images = generate(pipeline, [long] * 3 + ["a cat", long], range(5), batch_size=2, **QUICK)
    assert [str(warning.message) for warning in caught if warning.category is UserWarning] == [
        f"the prompt is longer than 77 positions and its end was cut off: lost 'lost end' of {long!r}"
    ]
    assert all(same(images[:2], by_the_pipeline(pipeline, [fits] * 2, [0, 1])))


def test_bad_calls():
    pipeline = tiny_pipeline()
    with pytest.raises(UserError, match="must be equally many"):
        generate(pipeline, PROMPTS, [1], **QUICK)
    with pytest.raises(UserError, match="must be equally many"):
        generate(pipeline, PROMPTS, SEEDS, negative_prompt=["one"], **QUICK)
    with pytest.raises(UserError, match="mixed_precision must be no, bf16 or fp16, not fp8"):
        generate(pipeline, PROMPTS, SEEDS, mixed_precision="fp8", **QUICK)
