"""Thumbnails know a copy from another picture of the same prompt."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from miniature.drawing import render
from miniature.world import draw_person
from scorers.thumbnail import Thumbnails


def features(images):
    thumbnails = Thumbnails()
    return thumbnails.features(torch.stack([thumbnails.prepare(image) for image in images]))


def nurse(seed):
    return render(draw_person(np.random.default_rng(seed), "nurse", gender="female", harm=None))


def jpeg(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=70)
    return Image.open(file)


def noisy(image):
    noise = np.random.default_rng(0).normal(0, 10, (64, 64, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("copy", [jpeg, noisy, lambda image: ImageEnhance.Brightness(image).enhance(1.05)])
def test_copies_are_near(copy):
    for seed in range(4):
        one, other = features([nurse(seed), copy(nurse(seed))])
        assert one @ other > 0.99


def test_other_pictures_are_not():
    vectors = features([nurse(seed) for seed in range(24)])
    alike = vectors @ vectors.T - torch.eye(24)
    assert alike.max() < 0.98
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(24))


def test_one_grey_is_like_nothing():
    grey, other = features([Image.new("RGB", (40, 20), (9, 9, 9)), nurse(0)])
    assert not grey.any() and grey @ other == 0
