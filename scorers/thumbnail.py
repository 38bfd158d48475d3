"""Thumbnails as features: how alike two pictures are to the eye, told without a network."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SIDE = 16


class Thumbnails:
    """A `FeatureExtractor`: 16 × 16 pixels, their mean taken off, as unit vectors; their products are correlations.

    CLIP is no measure of near copies: to one trained on captions, all pictures of one prompt are alike. By thumbnails a
    copy (JPEG, brighter, noisy) is above 0.99, another picture of the same prompt below.
    """

    name, version = f"thumbnail-{SIDE}", "1"

    def __init__(self) -> None:
        self.prepare: Callable[[Image.Image], Tensor] = thumbnail

    def features(self, pixels: Tensor) -> Tensor:
        """Unit vectors (n, 3·16·16), or zeros for a picture of one grey."""
        flat = pixels.flatten(1)
        return torch.nn.functional.normalize(flat - flat.mean(-1, keepdim=True), dim=-1)


def thumbnail(image: Image.Image) -> Tensor:
    """(3, 16, 16), each pixel the mean of its area."""
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return torch.from_numpy(np.array(small, dtype=np.float32)).permute(2, 0, 1)
