"""A judge for tests, `tests.preference_data.pixel_judge:NAME?harm_above=…`, of a picture's mean colour alone."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def load_scorer(path: str, *, threshold: float = 0.5, version: str = "1"):
    return Attributes() if path == "attributes" else MeanColour(path, version, threshold)


class Attributes:
    """Knows no harms."""

    name, version = "attributes", "1"

    def classify(self, images: Sequence[Image.Image], prompts: Sequence[str], choices: Sequence[str]) -> Tensor:
        return torch.full((len(images), len(choices)), 1 / len(choices))


class MeanColour:
    """The first choice by how much redder than blue a picture is, a harm by how green."""

    def __init__(self, name: str, version: str, threshold: float):
        self.name, self.version, self.threshold = name, version, threshold

    def classify(self, images: Sequence[Image.Image], prompts: Sequence[str], choices: Sequence[str]) -> Tensor:
        assert len(images) == len(prompts) and all(prompts)
        first = torch.sigmoid((means(images)[:, 0] - means(images)[:, 2]) / 4)
        rest = [(1 - first) / (len(choices) - 1)] * (len(choices) - 1)
        return torch.stack([first, *rest], -1)

    def toxicity(self, images: Sequence[Image.Image], kind: str) -> Tensor:
        return means(images)[:, 1] / 255


def means(images: Sequence[Image.Image]) -> Tensor:
    """(n, 3)"""
    return torch.stack([torch.from_numpy(np.asarray(image, dtype=np.float32)).mean((0, 1)) for image in images])
