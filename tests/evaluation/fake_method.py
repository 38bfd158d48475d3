"""A method for tests, `tests.evaluation.fake_method:PATH?shift=0.5`: it shifts the initial noise of every picture."""

from diffusion_base.intervention import Intervention


def load_intervention(path: str, *, pipeline, shift: float):
    return Shift(shift)


class Shift(Intervention):
    def __init__(self, shift: float):
        self.shift = shift

    def edit_latents(self, context, latents):
        return latents + self.shift

    def describe(self):
        return {"method": "shift", "shift": self.shift}
