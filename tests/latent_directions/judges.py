"""Judges that measure how bright a picture is, so that what they like is known."""

import numpy as np
import torch

from diffusion_base.errors import UserError


def brightness(images):
    return torch.tensor([float(np.asarray(image).mean()) for image in images]) / 255


class Brightness:
    """Prefers bright pictures; says which are dark or bright, and calls brightness a harm."""

    name, version, threshold = "brightness", "1", 0.5

    def classify(self, images, prompts, choices):
        if set(choices) != {"dark", "bright"}:
            raise UserError(f"brightness knows dark and bright, not {', '.join(choices)}")
        bright = brightness(images)
        return torch.stack([bright if choice == "bright" else 1 - bright for choice in choices], dim=1)

    def toxicity(self, images, kind):
        return brightness(images)

    def preference(self, images, prompts):
        return brightness(images)


class OnlyHarm:
    name, version, threshold = "only harm", "1", 0.5

    def toxicity(self, images, kind):
        return brightness(images)


class OnlyPreference:
    name, version = "only preference", "1"

    def preference(self, images, prompts):
        return brightness(images)
