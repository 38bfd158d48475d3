"""The forward process against its formulas; randomness is a function of (seed, step, sample)."""

import pytest
import torch
from diffusers import DDPMScheduler

from diffusion_base.errors import UserError
from diffusion_base.noising import (
    Diffusion,
    draw_noise,
    draw_timesteps,
    noised,
    per_sample_error,
    per_sample_generator,
)


def process(prediction_type: str = "epsilon") -> Diffusion:
    return Diffusion(DDPMScheduler(beta_schedule="scaled_linear", prediction_type=prediction_type))


def test_draws_do_not_depend_on_the_batch():
    together = draw_noise((4, 2, 2), seed=1, steps=[5, 5, 6], indices=torch.tensor([0, 7, 0]))
    assert together.shape == (3, 4, 2, 2)
    assert torch.equal(draw_noise((4, 2, 2), 1, [6, 5], [0, 7]), together[[2, 1]])
    assert len({tuple(noise.flatten().tolist()) for noise in together}) == 3
    timesteps = draw_timesteps(1000, 1, [5, 5, 6], [0, 7, 0])
    assert timesteps.dtype == torch.long and torch.equal(draw_timesteps(1000, 1, [6], [0]), timesteps[2:])


def test_streams_are_independent_and_draws_have_their_distribution():
    a, b = (torch.randn(3, generator=per_sample_generator(1, 2, 3, stream)) for stream in ("noise", "crop"))
    assert not torch.equal(a, b)
    timesteps = draw_timesteps(10, seed=0, steps=[0] * 2000, indices=range(2000))
    assert timesteps.bincount(minlength=10).min() > 140 and timesteps.max() == 9
    noise = draw_noise((16,), seed=0, steps=range(1000), indices=[0] * 1000)
    assert noise.mean().abs() < 0.03 and (noise.std() - 1).abs() < 0.03


def test_noise_and_targets():
    """x_t = a x_0 + s ε and v = a ε − s x_0 with a² = ᾱ_t, s² = 1 − ᾱ_t; so a x_t − s v = x_0."""
    latents, noise = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([10, 500, 990])
    alpha_bar = process().scheduler.alphas_cumprod[timesteps][:, None, None, None]
    a, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    noisy = process().add_noise(latents, noise, timesteps)
    torch.testing.assert_close(noisy, a * latents + s * noise)
    assert torch.equal(process().target(latents, noise, timesteps), noise)
    velocity = process("v_prediction").target(latents, noise, timesteps)
    torch.testing.assert_close(a * noisy - s * velocity, latents)
    with pytest.raises(UserError, match="its network predicts 'sample'; .*--prediction_type"):
        process("sample")


def test_per_sample_error():
    """Differences 1 and 3 on two of four values: (1 + 9)/4 = 2.5; none: 0. In float32 even for half precision."""
    prediction = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]]], [[[0.0, 0.0], [0.0, 0.0]]]], dtype=torch.float16)
    error = per_sample_error(prediction, torch.zeros(2, 1, 2, 2))
    assert error.tolist() == [2.5, 0.0] and error.dtype == torch.float32


def test_min_snr_weight():
    """snr = ᾱ/(1 − ᾱ); at ᾱ = 0.9 it is 9, at 0.5 it is 1. With γ = 5: 5/9 and 1; velocity adds 1; snr = 0 gives 1."""
    for prediction_type, expected in [("epsilon", [5 / 9, 1.0, 1.0]), ("v_prediction", [5 / 9 + 1, 2.0, 1.0])]:
        diffusion = process(prediction_type)
        diffusion.scheduler.alphas_cumprod = torch.tensor([0.9, 0.5, 0.0])
        timesteps = torch.tensor([0, 1, 2])
        torch.testing.assert_close(diffusion.snr(timesteps), torch.tensor([9.0, 1.0, 0.0]))
        torch.testing.assert_close(diffusion.weight(timesteps, 5.0), torch.tensor(expected))
        assert diffusion.weight(timesteps) is None


PAIRS = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
DRAWN = {"seed": 1, "steps": [3, 3], "indices": [5, 0]}


def test_the_prelude_of_pairs():
    """Two samples of two pictures: each sample's noise and timestep are both its pictures', and so is its weight."""
    x = noised(PAIRS, process(), **DRAWN, snr_gamma=5.0)
    noise, t = draw_noise((4, 8, 8), *DRAWN.values()), draw_timesteps(1000, *DRAWN.values())
    assert torch.equal(x.target, noise.repeat(2, 1, 1, 1)) and torch.equal(x.t, t.repeat(2))
    assert torch.equal(x.x_t, process().add_noise(PAIRS, x.target, x.t))
    assert torch.equal(x.weight, process().weight(t, 5.0).repeat(2))
    fixed = noised(PAIRS, process(), **DRAWN, timesteps=torch.tensor([0, 999]))
    assert fixed.t.tolist() == [0, 999, 0, 999] and fixed.weight is None and torch.equal(fixed.target, x.target)


def test_offset_and_perturbation_of_the_noise():
    """Offset: one number a channel is added to what is asked for. Perturbation: only what is seen has more noise."""
    plain = noised(PAIRS, process(), **DRAWN)
    shifted = noised(PAIRS, process(), **DRAWN, noise_offset=0.5)
    offsets = (shifted.target - plain.target).flatten(2)
    assert offsets.std(-1).max() < 1e-6 and offsets[..., 0].unique().numel() == 8
    torch.testing.assert_close(shifted.x_t, process().add_noise(PAIRS, shifted.target, plain.t))
    more = noised(PAIRS, process(), **DRAWN, input_perturbation=0.5)
    assert torch.equal(more.target, plain.target)
    sigma = (1 - process().scheduler.alphas_cumprod[plain.t]).sqrt()[:, None, None, None]
    assert 0.3 < ((more.x_t - plain.x_t) / sigma).std() < 0.7
