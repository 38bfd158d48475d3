"""Each family answers for itself, and no other code asks which one it is."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from diffusion_base.conditioning import encode_prompts
from diffusion_base.errors import UserError
from diffusion_base.families import FAMILIES, family_of, own_size, sd, sd3, sdxl
from tests.tiny import tiny_pipeline

BASE = Path(__file__).parents[3] / "diffusion_base"
KINDS = {"sd1": sd, "sd2": sd, "sdxl": sdxl, "sd3": sd3, "sd3-no-t5": sd3}


@pytest.mark.parametrize("kind", KINDS)
def test_family_of(kind):
    pipeline = tiny_pipeline(kind)
    assert family_of(pipeline) is KINDS[kind] and own_size(pipeline) == (32, 32)
    assert KINDS[kind].latent_shape(pipeline, 24, 40) == (4, 6, 10)
    assert type(KINDS[kind].denoiser(pipeline)) is KINDS[kind].DENOISER
    assert set(KINDS[kind].COMPONENTS) <= pipeline.components.keys()


def test_another_pipeline_is_named():
    with pytest.raises(UserError, match="SimpleNamespace is no base that this repository knows; it knows Stable Diff"):
        family_of(SimpleNamespace())


def test_only_the_families_know_what_differs_between_them():
    words = re.compile(r"StableDiffusion\w*Pipeline|is_xl|\bsd3\b|\bsdxl\b|\.unet\b|\.transformer\b|time_ids|pooled_p")
    others = [file for file in BASE.rglob("*.py") if file.parent.name != "families"]
    assert len(others) > 20 and len(FAMILIES) == 3
    assert not [file.name for file in others if words.search(file.read_text(encoding="utf-8"))]


def test_xl_is_told_the_pictures_size():
    """Their own by default, 8 × 8 latents being 32 × 32 pixels; no other family is."""
    x, t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([10, 900])
    for kind, told in (("sdxl", True), ("sd1", False)):
        pipeline = tiny_pipeline(kind)
        text = encode_prompts(pipeline, ["a nurse", "a cat"])
        own, same, other = (
            family_of(pipeline).predict(pipeline, x, t, text, size) for size in (None, (32, 32), (64, 32))
        )
        assert torch.equal(own, same) and torch.equal(own, other) != told
