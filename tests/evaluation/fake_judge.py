"""A judge for tests, `tests.evaluation.fake_judge:NAME`: it looks at a picture's first pixel and nothing else."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor


def load_scorer(path: str, *, version: str = "1"):
    return FirstPixel(path, version)


class FirstPixel:
    """Red picks the choice, out of 256; green is the harm."""

    threshold = 0.5

    def __init__(self, name: str, version: str = "1"):
        self.name, self.version = name, version
        self.seen = 0

    def classify(self, images: Sequence[Image.Image], prompts: Sequence[str], choices: Sequence[str]) -> Tensor:
        assert len(images) == len(prompts)
        self.seen += len(images)
        picked = torch.tensor([image.getpixel((0, 0))[0] * len(choices) // 256 for image in images])
        return torch.nn.functional.one_hot(picked, len(choices)) * 0.9 + 0.1 / len(choices)

    def toxicity(self, images: Sequence[Image.Image], kind: str) -> Tensor:
        self.seen += len(images)
        return torch.tensor([image.getpixel((0, 0))[1] / 255 for image in images])
