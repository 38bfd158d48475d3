"""Stable Diffusion 3: its pipeline's own embeddings and pictures, its doors, its flow."""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from diffusion_base.conditioning import CachedPrompts, PromptEmbeddings, encode_negative_prompts, encode_prompts
from diffusion_base.errors import UserError
from diffusion_base.families import family_of, own_size, sd3
from diffusion_base.generation import generate
from diffusion_base.intervention import Intervention
from diffusion_base.pipeline import load_pipeline
from tests.tiny import tiny_folder, tiny_pipeline

PROMPTS = ["a nurse", "a cat on a mat", ""]
SEEDS = [3, 14, 15]
QUICK = {"num_inference_steps": 3, "guidance_scale": 4.0, "progress": False}
KINDS = ["sd3", "sd3-no-t5"]


def by_the_pipeline(pipeline, **options):
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    options = {"num_inference_steps": 3, "guidance_scale": 4.0, **options}
    return pipeline(PROMPTS, generator=generators, **options).images


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_the_pipelines(kind):
    pipeline = tiny_pipeline(kind)
    embeds, negative, pooled, negative_pooled = pipeline.encode_prompt(PROMPTS, PROMPTS, PROMPTS, device="cpu")
    ours, unset = encode_prompts(pipeline, PROMPTS), encode_negative_prompts(pipeline, [""] * 3)
    assert torch.equal(ours.embeds, embeds) and torch.equal(ours.pooled, pooled)
    assert torch.equal(unset.embeds, negative) and torch.equal(unset.pooled, negative_pooled)
    assert unset.pooled.any() and ours.embeds[:, 77:].any() == (kind == "sd3")
    assert torch.allclose(CachedPrompts(pipeline)(PROMPTS[:2]).pooled, pooled[:2], atol=1e-6)


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
@pytest.mark.parametrize("kind", KINDS)
def test_no_intervention_is_the_pipeline_bit_for_bit(kind, guidance_scale):
    pipeline = tiny_pipeline(kind)
    final = Final()
    ours = generate(pipeline, PROMPTS, SEEDS, [final], **QUICK | {"guidance_scale": guidance_scale})
    plain = generate(pipeline, PROMPTS, SEEDS, **QUICK | {"guidance_scale": guidance_scale})
    theirs = by_the_pipeline(pipeline, guidance_scale=guidance_scale)
    assert np.array_equal(ours, theirs) and np.array_equal(plain, theirs)
    assert torch.equal(final.latents, by_the_pipeline(pipeline, guidance_scale=guidance_scale, output_type="latent"))


def test_negative_prompts_size_and_shift_by_resolution_are_the_pipelines():
    pipeline = tiny_pipeline("sd3")
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    options = {"negative_prompt": ["blurry", "a dog", ""], "height": 24, "width": 40}
    ours = generate(pipeline, PROMPTS, SEEDS, **QUICK, **options)
    assert ours[0].size == (40, 24) and np.array_equal(ours, by_the_pipeline(pipeline, **options))
    assert own_size(pipeline) == (32, 32)


def test_bf16_stays_close():
    pipeline = tiny_pipeline("sd3")
    exact = np.stack(generate(pipeline, PROMPTS, SEEDS, **QUICK)).astype(float)
    quick = np.stack(generate(pipeline, PROMPTS, SEEDS, mixed_precision="bf16", **QUICK)).astype(float)
    assert 0 < np.abs(exact - quick).mean() < 3


@dataclass
class Shift(Intervention):
    strength: float = 1.0

    def describe(self):
        return {"strength": self.strength}


class PromptShift(Shift):
    def edit_prompts(self, context, conditional, unconditional):
        return PromptEmbeddings(conditional.embeds + self.strength, conditional.pooled), unconditional


class NoiseShift(Shift):
    def edit_latents(self, context, latents):
        return latents + self.strength


class WeightShift(Shift):
    @contextmanager
    def swap_weights(self, context):
        bias = context.pipeline.transformer.proj_out.bias
        kept = bias.clone()
        bias.add_(self.strength)
        yield
        bias.copy_(kept)


class StepShift(Shift):
    def end_of_step(self, context, latents):
        return latents + self.strength * (context.step == 1)


class Final(Shift):
    """Keeps the latents and what was known at each step."""

    def __init__(self):
        self.seen = []

    @contextmanager
    def hook(self, context, denoiser):
        def see(_module, _arguments, options):
            rows = context.conditional_rows.tolist()
            self.seen.append((context.step, context.timestep, rows, len(options["hidden_states"])))

        handle = denoiser.register_forward_pre_hook(see, with_kwargs=True)
        yield
        handle.remove()

    def end_of_step(self, context, latents):
        self.latents = latents
        return latents


@pytest.mark.parametrize("door", [PromptShift, NoiseShift, WeightShift, StepShift])
def test_each_door_changes_the_picture_as_strongly_as_asked_and_leaves_the_base_as_it_was(door):
    pipeline = tiny_pipeline("sd3")
    base, none, weak, strong, after = (
        np.stack(generate(pipeline, PROMPTS, SEEDS, interventions, **QUICK)).astype(float)
        for interventions in ([], [door(0.0)], [door(0.05)], [door(0.5)], [])
    )
    assert np.array_equal(base, none) and np.array_equal(base, after)
    assert 0 < np.abs(weak - base).mean() < np.abs(strong - base).mean()


@pytest.mark.parametrize(("guidance_scale", "rows"), [(4.0, [False] * 3 + [True] * 3), (1.0, [True] * 3)])
def test_context_knows_the_rows_and_the_timestep(guidance_scale, rows):
    pipeline, recorder = tiny_pipeline("sd3"), Final()
    generate(pipeline, PROMPTS, SEEDS, [recorder], **QUICK | {"guidance_scale": guidance_scale})
    assert recorder.seen == [(step, t, rows, len(rows)) for step, t in enumerate(pipeline.scheduler.timesteps)]


def test_load_keeps_its_own_scheduler_and_opens_without_t5(tmp_path):
    pipeline = load_pipeline(tiny_folder(tmp_path / "with", "sd3"), device="cpu")
    assert type(pipeline.scheduler) is FlowMatchEulerDiscreteScheduler and pipeline.scheduler.config.shift == 3
    assert family_of(pipeline) is sd3
    ours = generate(pipeline, PROMPTS, SEEDS, **QUICK)
    assert np.array_equal(ours, generate(tiny_pipeline("sd3"), PROMPTS, SEEDS, **QUICK))
    without = load_pipeline(tiny_folder(tmp_path / "without", "sd3-no-t5"), device="cpu")
    assert without.text_encoder_3 is None and without.tokenizer_3 is None
    (tmp_path / "with" / "text_encoder_3" / "config.json").unlink()
    with pytest.raises(UserError, match="with lacks its text_encoder_3: no config.json"):
        load_pipeline(tmp_path / "with")


def test_what_t5_still_reads_is_not_lost():
    """T5 has 256 positions, one of them the end's mark, and a letter "a" of its own is two tokens; CLIP has 77."""
    warned = {}
    for kind, letters in [("sd3", 100), ("sd3", 130), ("sd3-no-t5", 100)]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            encode_prompts(tiny_pipeline(kind), [" ".join("a" * letters)])
        warned[kind, letters] = [str(warning.message)[:42] for warning in caught]
    too_long = "the prompt is longer than {} positions"
    assert warned["sd3", 100] == []
    assert [text.startswith(too_long.format(256)) for text in warned["sd3", 130]] == [True]
    assert [text.startswith(too_long.format(77)) for text in warned["sd3-no-t5", 100]] == [True]


def test_flow_by_hand():
    """Shift 3 takes σ to 3σ/(1 + 2σ). At u = ½ of a schedule of 1000, σ = ½ becomes 1.5/2 = ¾, timestep 750; at u = 0
    it is 1. With x_0 = 2, ε = 6 and σ = ¾: x_σ = ¼·2 + ¾·6 = 5, and v = 6 − 2 = 4 at every σ, so that x_σ − σ v = x_0.
    """
    process = family_of(pipeline := tiny_pipeline("sd3")).forward_process(pipeline)
    timesteps = process.timesteps_at(torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(timesteps, torch.tensor([750.0, 1000.0]))
    latents, noise = torch.full((2, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1), 6.0)
    torch.testing.assert_close(process.add_noise(latents, noise, timesteps).flatten(), torch.tensor([5.0, 6.0]))
    assert process.target(latents, noise, timesteps).flatten().tolist() == [4.0, 4.0]
    assert process.weight(timesteps) is None


def test_timesteps_are_logit_normal_and_each_samples_own():
    """u = sigmoid(z) lies below ½ in half of all cases and below sigmoid(1) = .731 in 84%; large u is small σ."""
    scheduler = FlowMatchEulerDiscreteScheduler()  # no shift: σ = 1 − u
    process = sd3.RectifiedFlow(scheduler)
    sigma = process.draw_timesteps(0, range(3000), [7] * 3000) / 1000
    assert abs((sigma > 0.5).float().mean() - 0.5) < 0.03
    assert abs((sigma > 1 - 0.731).float().mean() - 0.841) < 0.02
    together = process.draw_timesteps(1, [5, 5, 6], [0, 7, 0])
    assert torch.equal(process.draw_timesteps(1, [6, 5], [0, 7]), together[[2, 1]]) and len(set(together.tolist())) == 3


def test_what_has_no_meaning_for_a_flow_is_said():
    pipeline = tiny_pipeline("sd3")
    with pytest.raises(UserError, match="--snr_gamma has no meaning for a base that predicts a flow"):
        sd3.forward_process(pipeline).weight(torch.tensor([500.0]), 5.0)
    with pytest.raises(UserError, match="--prediction_type epsilon: Stable Diffusion 3 and 3.5 predicts the flow"):
        sd3.forward_process(pipeline, "epsilon")


def test_predict_is_the_pipelines_call():
    pipeline = tiny_pipeline("sd3")
    text = encode_prompts(pipeline, PROMPTS)
    x, t = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([900.0, 500.0, 3.5])
    expected = pipeline.transformer(
        hidden_states=x, timestep=t, encoder_hidden_states=text.embeds, pooled_projections=text.pooled
    ).sample
    assert torch.equal(family_of(pipeline).predict(pipeline, x, t, text), expected)
