"""Judges for tests, `tests.latent_directions.understanding.judges:NAME`, of a picture's brightness alone."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffusion_base.errors import UserError


def load_scorer(path: str):
    return {"brightness": Brightness, "preference": Preference}[path]()


class Brightness:
    """Of black pictures it says the first choice, of white ones the last; it knows no words with a question mark."""

    name, version = "brightness", "1"

    def classify(self, images: Sequence[Image.Image], prompts: Sequence[str], choices: Sequence[str]) -> Tensor:
        assert len(images) == len(prompts)
        if unknown := [word for word in choices if "?" in word]:
            raise UserError(f"brightness does not know {unknown[0]!r}")
        bright = torch.tensor([np.asarray(image).mean() / 255 for image in images]) * (len(choices) - 1)
        places = torch.arange(len(choices))
        return (-((bright[:, None] - places) ** 2)).softmax(-1)


class Preference:
    """Gives no shares of anything."""

    name, version = "preference", "1"

    def preference(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        return torch.zeros(len(images))


JUDGE = "tests.latent_directions.understanding.judges:brightness"


def write_pictures(folder, greys: Sequence[int], side: int = 8):
    """A picture of one grey each, 0000.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, grey in enumerate(greys):
        Image.new("RGB", (side, side), (grey, grey, grey)).save(folder / f"{i:04d}.png")
    return folder
