"""Tests compute on the CPU, where figures are exact and two processes need no two GPUs."""

import os

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # set it to test on a GPU


@pytest.fixture(scope="session")
def full_size(tmp_path_factory):
    """A base of Stable Diffusion 1.5's size, two pictures and a folder for their latents: seconds, paid once."""
    from tests.full_size import stable_diffusion_15  # torch, only for the few tests that need it

    folder = tmp_path_factory.mktemp("full-size")
    files = [folder / f"{i}.png" for i in range(2)]
    for i, file in enumerate(files):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (512, 512, 3), dtype=np.uint8)).save(file)
    return stable_diffusion_15(), files, folder / "latents"
