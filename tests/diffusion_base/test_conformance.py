"""The check that methods must pass passes sound ones, at every door, and names what others do wrong."""

from contextlib import contextmanager
from itertools import count

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from diffusion_base.conformance import check_conformance
from diffusion_base.intervention import Intervention
from tests.diffusion_base.test_intervention import METHODS, NoiseShift, Numbered, WeightSwap
from tests.tiny import tiny_pipeline


@pytest.mark.parametrize("method", METHODS)
def test_sound_methods_pass(method):
    check_conformance(lambda: method(0.5), tiny_pipeline(), [lambda: method(0.4)])


class Nothing(NoiseShift):
    def edit_latents(self, context, latents):
        return latents


class HookLeft(NoiseShift):
    @contextmanager
    def hook(self, context, denoiser):
        denoiser.mid_block.register_forward_hook(lambda *_: None)
        yield


class WeightsLeftByFailure(WeightSwap):
    @contextmanager
    def swap_weights(self, context):
        bias = context.pipeline.unet.conv_out.bias
        kept = bias.clone()
        bias.add_(self.strength)
        yield
        bias.copy_(kept)


class ProcessorLeft(NoiseShift):
    @contextmanager
    def hook(self, context, denoiser):
        denoiser.set_attn_processor(AttnProcessor())
        yield


class StrengthFixed(NoiseShift):
    strength = property(lambda self: 0.5, lambda self, strength: None)


class StrengthWithoutEffect(NoiseShift):
    def edit_latents(self, context, latents):
        return latents + 1


class StrengthUntold(NoiseShift):
    def describe(self):
        return {"method": "noise shift"}


class NoJSON(NoiseShift):
    def describe(self):
        return {"shift": torch.ones(3), "strength": self.strength}


class NoFiniteJSON(NoiseShift):
    def describe(self):
        return {"shift": float("nan"), "strength": self.strength}


class DescriptionOfUse(NoiseShift):
    used = 0

    def begin(self, context):
        self.used += 1

    def describe(self):
        return {"used": self.used, "strength": self.strength}


class Drawn(NoiseShift):
    """Each one made is another, and doesn't say so."""

    numbers = count(1)

    def __init__(self, strength):
        super().__init__(strength)
        self.shift = next(self.numbers) ** 2

    def edit_latents(self, context, latents):
        return latents + self.strength * self.shift


class ByRow(NoiseShift):
    def edit_latents(self, context, latents):
        return latents + self.strength * torch.arange(1.0, len(latents) + 1)[:, None, None, None]


class Remembering(NoiseShift):
    def __init__(self, strength):
        super().__init__(strength)
        self.seen = []

    def begin(self, context):
        self.seen += context.prompts

    def edit_latents(self, context, latents):
        doubled = torch.tensor([self.seen.count(prompt) > 2 for prompt in context.prompts])
        return latents + self.strength * (1 + doubled[:, None, None, None].to(latents))


@pytest.mark.parametrize(
    ("method", "problem"),
    [
        (Nothing, "changes none of these pictures"),
        (HookLeft, "after use the base is not what it was: the hooks of unet.mid_block"),
        (WeightsLeftByFailure, "after a failure in another's edit_prompts the base .*: unet.conv_out.bias"),
        (ProcessorLeft, "after use the base is not what it was: what unet.*attn1 has"),
        (StrengthFixed, "at strength 0 the pictures are not the base's"),
        (StrengthWithoutEffect, "setting its strength changes nothing"),
        (StrengthUntold, "the same for another strength or option"),
        (NoJSON, "no JSON .*Tensor is not JSON serializable"),
        (NoFiniteJSON, "no JSON"),
        (DescriptionOfUse, "its description changes with use"),
        (Drawn, "two of one description make different pictures"),
        (ByRow, "a picture depends on its batch"),
        (Numbered, "a picture depends on what is made beside it"),
        (Remembering, "something of an earlier set or beginning is left"),
    ],
)
def test_what_is_wrong_is_named(method, problem):
    with pytest.raises(AssertionError, match=f"^{method.__name__}: .*{problem}"):
        check_conformance(lambda: method(0.5), tiny_pipeline())


def test_an_option_that_the_description_leaves_out():
    with pytest.raises(AssertionError, match="the same for another strength or option"):
        check_conformance(lambda: NoiseShift(0.5), tiny_pipeline(), [lambda: NoiseShift(0.5)])


def test_the_whole_set_may_count_where_that_is_meant():
    check_conformance(lambda: Numbered(0.5), tiny_pipeline(), dealt=True)


def test_it_needs_an_intervention_alone():
    """Nothing but what the protocol offers: a method that inherits every door fails for want of an effect."""

    class Bare(Intervention):
        def describe(self):
            return {}

    with pytest.raises(AssertionError, match="Bare: it changes none"):
        check_conformance(Bare, tiny_pipeline())
