"""The latent cache holds what the VAE says of a picture and of its mirror, once."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from diffusion_base import latents
from diffusion_base.data import load_image, mirror, square, to_tensor
from diffusion_base.errors import UserError
from diffusion_base.latents import LatentCache, encode_live, posterior_moments, sample_posterior
from tests.tiny import tiny_pipeline, tiny_vae

RESOLUTION = 32


@pytest.fixture(scope="module")
def vae():
    return tiny_pipeline("sd1").vae


@pytest.fixture
def pictures(tmp_path):
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for path in paths:
        Image.fromarray(generator.integers(0, 256, (40, 36, 3), np.uint8)).save(path)
    return paths


def counting(monkeypatch) -> list[int]:
    """The batch sizes that went through the VAE from now on."""
    batches = []

    def count(vae, pixels):
        batches.append(len(pixels))
        return posterior_moments(vae, pixels)

    monkeypatch.setattr(latents, "posterior_moments", count)
    return batches


def test_moments_are_the_vaes_for_picture_and_mirror(vae, pictures, tmp_path):
    cache = LatentCache(vae, tmp_path / "cache", RESOLUTION, batch_size=2)
    cache.encode(pictures)
    pixels = to_tensor(square(load_image(pictures[3]), RESOLUTION))
    for mirrored in (False, True):
        posterior = vae.encode((mirror(pixels) if mirrored else pixels)[None]).latent_dist
        mean, logvar = cache.moments(pictures[3], mirrored)
        torch.testing.assert_close(mean, posterior.mean[0])
        torch.testing.assert_close(logvar, posterior.logvar[0])


def test_sample_is_mean_plus_std_times_noise_scaled(vae, pictures, tmp_path):
    cache = LatentCache(vae, tmp_path / "cache", RESOLUTION)
    cache.encode(pictures)
    moments = torch.stack([cache.moments(path) for path in pictures])
    noise = torch.randn(moments[:, 0].shape, generator=torch.Generator().manual_seed(1))
    expected = (moments[:, 0] + torch.exp(0.5 * moments[:, 1]) * noise) * vae.config.scaling_factor
    torch.testing.assert_close(cache.sample(moments, torch.Generator().manual_seed(1)), expected)


def test_nothing_is_encoded_twice_and_the_past_leaves_no_trace(vae, pictures, tmp_path, monkeypatch):
    """An interrupted encoding gives the same bits: batches are always full. Moved pictures are found by content."""
    batches = counting(monkeypatch)
    whole = LatentCache(vae, tmp_path / "whole", RESOLUTION, batch_size=4)
    whole.encode(pictures)
    assert batches == [8, 8]
    again = LatentCache(vae, tmp_path / "again", RESOLUTION, batch_size=4)
    again.encode(pictures[:3])
    moved = pictures[0].rename(tmp_path / "moved.png")
    again = LatentCache(vae, tmp_path / "again", RESOLUTION, batch_size=4)
    del batches[:]
    again.encode([moved, *pictures[1:], pictures[1]])
    assert batches == [8]
    for ours, theirs in zip([moved, *pictures[1:]], pictures, strict=True):
        assert again.moments(ours).equal(whole.moments(theirs))


def test_the_key_is_content_vae_and_transform(vae, pictures, tmp_path, monkeypatch):
    batches = counting(monkeypatch)
    LatentCache(vae, tmp_path / "cache", RESOLUTION).encode(pictures[:1])
    LatentCache(vae, tmp_path / "cache", 16).encode(pictures[:1])
    LatentCache(tiny_pipeline("sd1", seed=1).vae, tmp_path / "cache", RESOLUTION).encode(pictures[:1])
    Image.new("RGB", (40, 40)).save(pictures[0])
    LatentCache(vae, tmp_path / "cache", RESOLUTION).encode(pictures[:1])
    assert len(batches) == 4


def test_load_is_a_function_of_the_generator_and_flips(vae, pictures, tmp_path):
    cache = LatentCache(vae, tmp_path / "cache", RESOLUTION)
    cache.encode(pictures)
    cache = pickle.loads(pickle.dumps(cache))  # as a loader worker gets it
    draws = [cache.load(pictures[0], np.random.default_rng(seed), random_flip=True) for seed in range(8)]
    assert draws[0].equal(cache.load(pictures[0], np.random.default_rng(0), random_flip=True))
    # the tiny VAE's posterior is wide; what tells picture from mirror is the distance to the two means
    means = [cache.moments(pictures[0], mirrored)[0] * cache.scaling_factor for mirrored in (False, True)]
    nearer_to_mirror = [((draw - means[0]).norm() > (draw - means[1]).norm()).item() for draw in draws]
    flips = [bool(np.random.default_rng(seed).random() < 0.5) for seed in range(8)]
    assert nearer_to_mirror == flips


def test_random_crops_encode_live_and_say_so(vae, pictures, tmp_path, capsys):
    cache = LatentCache(vae, tmp_path / "cache", RESOLUTION, center_crop=False)
    cache.encode(pictures)
    assert "random crops" in capsys.readouterr().out and not (tmp_path / "cache").exists()
    pixels = torch.stack([cache.load(path, np.random.default_rng(0)) for path in pictures])
    assert pixels.shape == (5, 3, RESOLUTION, RESOLUTION)
    together = encode_live(vae, pixels, 0, [3] * 5, range(5))
    alone = encode_live(vae, pixels[2:3], 0, [3], [2])
    torch.testing.assert_close(together[2:3], alone)


def too_large_for_float16(**options) -> AutoencoderKL:
    """Its first activations pass 65504 where a picture isn't grey; normalisation makes them small again."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = tiny_vae(**options)
    vae.encoder.conv_in.weight.data *= 2e5
    return vae.requires_grad_(False).eval()


def test_a_vae_that_must_not_run_in_float16_does_not(pictures, tmp_path):
    vae = too_large_for_float16().half()
    pixels = torch.rand(2, 3, RESOLUTION, RESOLUTION, generator=torch.Generator().manual_seed(0)) * 2 - 1
    exact = encode_live(deepcopy(vae).float(), pixels, 0, [3, 3], [0, 1])
    assert exact.isfinite().all()
    with torch.autocast("cpu", torch.float16):
        assert torch.equal(encode_live(vae, pixels, 0, [3, 3], [0, 1]), exact)
        assert torch.equal(encode_live(deepcopy(vae).float(), pixels, 0, [3, 3], [0, 1]), exact)
    assert vae.dtype == torch.float16
    cache = LatentCache(vae, tmp_path / "cache", RESOLUTION)
    cache.encode(pictures)
    assert cache.moments(pictures[0]).isfinite().all() and vae.dtype == torch.float16


def test_latents_that_are_not_finite_are_the_pictures_and_not_the_learning_rates_fault(pictures, tmp_path):
    """Where the configuration allows float16 and the VAE can't do with it."""
    vae = too_large_for_float16(force_upcast=False).half()
    pixels = torch.rand(2, 3, RESOLUTION, RESOLUTION, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pixels[0] = 0
    with pytest.raises(UserError, match=r"sample 7 .*not finite in torch.float16: this VAE needs --mixed_precision no"):
        encode_live(vae, pixels, 0, [3, 3], [5, 7])
    with pytest.raises(UserError, match="0.png: its latents are not finite"):
        LatentCache(vae, tmp_path / "cache", RESOLUTION).encode(pictures)


def test_shifted_latents(pictures, tmp_path):
    """(mean + e^(logvar/2)·noise − shift)·scale = (3 + 1·0.5 − 1.5)·2 = 4; a shift of 1.5 takes 3 off each."""
    moments = torch.tensor([3.0, 0.0])[:, None, None, None]
    assert sample_posterior(moments, torch.full((1, 1, 1), 0.5), 2.0, 1.5).item() == 4.0

    found = {}
    for shift in (None, 1.5):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            vae = tiny_vae(scaling_factor=2.0, shift_factor=shift).requires_grad_(False).eval()
        cache = LatentCache(vae, tmp_path / "cache", RESOLUTION)
        cache.encode(pictures[:1])
        pixels = to_tensor(square(load_image(pictures[0]), RESOLUTION))[None]
        cached = cache.load(pictures[0], np.random.default_rng(0))
        found[shift] = torch.stack([cached, encode_live(vae, pixels, 0, [0], [0])[0]])
    torch.testing.assert_close(found[None] - found[1.5], torch.full((2, 4, 8, 8), 3.0))


def test_faults_are_named(vae, pictures, tmp_path, monkeypatch):
    cache = LatentCache(vae, tmp_path / "cache", RESOLUTION)
    with pytest.raises(UserError, match="missing.png"):
        cache.encode([tmp_path / "missing.png"])
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(pictures[0].read_bytes()[:500])
    with pytest.raises(UserError, match="truncated.png"):
        cache.encode([truncated])

    cache.encode(pictures)
    cache.files[pictures[0]].write_bytes(b"half a fi")
    with pytest.raises(UserError, match="delete it"):
        cache.moments(pictures[0])

    monkeypatch.setattr(
        latents, "posterior_moments", lambda vae, pixels: torch.full((len(pixels), 2, 4, 8, 8), torch.nan)
    )
    with pytest.raises(UserError, match="not finite"):
        LatentCache(vae, tmp_path / "other", RESOLUTION).encode(pictures[:1])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.undo()
    monkeypatch.setattr(latents, "save_file", full)
    with pytest.raises(UserError, match="No space left"):
        LatentCache(vae, tmp_path / "other", RESOLUTION).encode(pictures[:1])
    assert not list((tmp_path / "other").rglob("*.*"))
