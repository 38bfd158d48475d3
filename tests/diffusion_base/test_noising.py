"""The forward process against its formulas; randomness is a function of (seed, step, sample)."""

import pytest
import torch
from diffusers import DDPMScheduler

from diffusion_base.noising import (
    add_noise,
    draw_noise,
    draw_timesteps,
    min_snr_weight,
    per_sample_error,
    per_sample_generator,
    snr,
    target,
)


def scheduler(prediction_type: str = "epsilon", **options) -> DDPMScheduler:
    return DDPMScheduler(beta_schedule="scaled_linear", prediction_type=prediction_type, **options)


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
    alpha_bar = scheduler().alphas_cumprod[timesteps][:, None, None, None]
    a, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    noisy = add_noise(scheduler(), latents, noise, timesteps)
    torch.testing.assert_close(noisy, a * latents + s * noise)
    assert torch.equal(target(scheduler(), latents, noise, timesteps), noise)
    velocity = target(scheduler("v_prediction"), latents, noise, timesteps)
    torch.testing.assert_close(a * noisy - s * velocity, latents)
    with pytest.raises(ValueError, match="not sample"):
        target(scheduler("sample"), latents, noise, timesteps)


def test_per_sample_error():
    """Differences 1 and 3 on two of four values: (1 + 9)/4 = 2.5; none: 0. In float32 even for half precision."""
    prediction = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]]], [[[0.0, 0.0], [0.0, 0.0]]]], dtype=torch.float16)
    error = per_sample_error(prediction, torch.zeros(2, 1, 2, 2))
    assert error.tolist() == [2.5, 0.0] and error.dtype == torch.float32


def test_min_snr_weight():
    """snr = ᾱ/(1 − ᾱ); at ᾱ = 0.9 it is 9, at 0.5 it is 1. With γ = 5: 5/9 and 1; velocity adds 1; snr = 0 gives 1."""
    for prediction_type, expected in [("epsilon", [5 / 9, 1.0, 1.0]), ("v_prediction", [5 / 9 + 1, 2.0, 1.0])]:
        noise_scheduler = scheduler(prediction_type)
        noise_scheduler.alphas_cumprod = torch.tensor([0.9, 0.5, 0.0])
        timesteps = torch.tensor([0, 1, 2])
        torch.testing.assert_close(snr(noise_scheduler, timesteps), torch.tensor([9.0, 1.0, 0.0]))
        torch.testing.assert_close(min_snr_weight(noise_scheduler, timesteps, 5.0), torch.tensor(expected))
