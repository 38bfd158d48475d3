"""The doors, each by a small method written here: what it changes, in which order, how strongly, on which rows."""

import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from diffusion_base.conditioning import PromptEmbeddings, encode_prompts
from diffusion_base.errors import UserError
from diffusion_base.generation import generate, generate_set
from diffusion_base.intervention import Context, Intervention, Wrapped, check_strengths, load_intervention
from tests.tiny import tiny_pipeline

PROMPTS = ["a nurse", "a cat"]
SEEDS = [1, 2]
QUICK = {"num_inference_steps": 3, "guidance_scale": 4.0, "progress": False}


@dataclass
class Describe(Intervention):
    strength: float = 1.0

    def describe(self):
        return {"method": type(self).__name__, "strength": self.strength}


class PromptShift(Describe):
    """Door 1."""

    def edit_prompts(self, context, conditional, unconditional):
        return PromptEmbeddings(conditional.embeds + self.strength, conditional.pooled), unconditional


class Rewriting(Describe):
    """Door 1, before the encoding."""

    def edit_text(self, context, prompts):
        return [prompt + " in red" * round(10 * self.strength) for prompt in prompts]


class OwnNegative(Describe):
    """Door 1: a method that brings its negative prompt."""

    def edit_prompts(self, context, conditional, unconditional):
        return conditional, encode_prompts(context.pipeline, ["weird image"] * len(context.prompts))


class NoiseShift(Describe):
    """Door 2."""

    def edit_latents(self, context, latents):
        return latents + self.strength * torch.ones_like(latents)


class MidBlockShift(Describe):
    """Door 3: adds to the conditional rows of the mid block alone."""

    @contextmanager
    def hook(self, context, denoiser):
        def shift(_module, _inputs, output):
            rows = context.conditional_rows
            assert len(rows) == len(output)
            return output + self.strength * rows.to(output.dtype)[:, None, None, None]

        handle = denoiser.mid_block.register_forward_hook(shift)
        try:
            yield
        finally:
            handle.remove()


class WeightSwap(Describe):
    """Door 4."""

    @contextmanager
    def swap_weights(self, context):
        bias = context.pipeline.unet.conv_out.bias
        kept = bias.clone()
        bias.add_(self.strength)
        try:
            yield
        finally:
            bias.copy_(kept)


class StepShift(Describe):
    """The step callback."""

    def end_of_step(self, context, latents):
        return latents + self.strength * (context.step == 1)


class Numbered(Describe):
    """Needs all pictures to be known: each is shifted by its number among them."""

    def begin(self, context):
        self.numbers = {seed: number for number, seed in enumerate(context.seeds, start=1)}

    def edit_latents(self, context, latents):
        numbers = torch.tensor([self.numbers[seed] for seed in context.seeds])
        return latents + self.strength * numbers[:, None, None, None]


DOORS = [PromptShift, NoiseShift, MidBlockShift, WeightSwap, StepShift]
METHODS = [*DOORS, Rewriting]  # whose pictures don't depend on the whole set


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
@pytest.mark.parametrize("method", DOORS)
def test_each_door_changes_the_picture_as_strongly_as_asked_and_leaves_the_base_as_it_was(method, kind):
    pipeline = tiny_pipeline(kind)
    base, none, weak, strong, after = (
        np.stack(generate(pipeline, PROMPTS, SEEDS, interventions, **QUICK)).astype(float)
        for interventions in ([], [method(0.0)], [method(0.05)], [method(0.5)], [])
    )
    assert np.array_equal(base, none) and np.array_equal(base, after)
    assert 0 < np.abs(weak - base).mean() < np.abs(strong - base).mean()


def test_own_negative_prompt_is_that_negative_prompt():
    pipeline = tiny_pipeline()
    owned = generate(pipeline, PROMPTS, SEEDS, [OwnNegative()], negative_prompt="ignored", **QUICK)
    given = generate(pipeline, PROMPTS, SEEDS, negative_prompt="weird image", **QUICK)
    plain = generate(pipeline, PROMPTS, SEEDS, **QUICK)
    assert np.array_equal(owned, given) and not np.array_equal(owned, plain)


def test_noise_is_edited_before_the_scheduler_scales_it():
    pipeline = tiny_pipeline()
    pipeline.scheduler.init_noise_sigma = 3.0
    recorder = Recorder("a", [])
    generate(pipeline, PROMPTS, SEEDS, [recorder], **QUICK)
    assert torch.equal(recorder.noise[0], torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(SEEDS[0])))
    torch.testing.assert_close(recorder.inputs[0][:2], recorder.noise * 3)


@dataclass
class Recorder(Intervention):
    """Writes down when each door is passed and what is known there."""

    name: str
    log: list
    rows: list = field(default_factory=list)
    inputs: list = field(default_factory=list)
    noise: torch.Tensor | None = None

    def describe(self):
        return {}

    def begin(self, context):
        self.log.append((self.name, "begin", len(context.prompts), context.step))

    @contextmanager
    def swap_weights(self, context):
        self.log.append((self.name, "weights in", len(context.prompts), context.step))
        yield
        self.log.append((self.name, "weights out", len(context.prompts), context.step))

    def edit_text(self, context, prompts):
        self.log.append((self.name, "text", len(prompts), context.step))
        return prompts

    def edit_prompts(self, context, conditional, unconditional):
        self.log.append((self.name, "prompts", len(context.prompts), context.step))
        return conditional, unconditional

    def edit_latents(self, context, latents):
        self.noise = latents
        self.log.append((self.name, "latents", len(context.prompts), context.step))
        return latents

    @contextmanager
    def hook(self, context, denoiser):
        def see(_module, inputs):
            assert context.timestep == inputs[1]
            self.inputs.append(inputs[0])
            self.rows.append(context.conditional_rows)
            self.log.append((self.name, "unet", len(context.prompts), context.step))

        handle = denoiser.register_forward_pre_hook(see)
        yield
        handle.remove()

    def end_of_step(self, context, latents):
        self.log.append((self.name, "end of step", len(context.prompts), context.step))
        return latents


def test_doors_are_passed_in_order_and_the_list_in_order_within_a_door():
    log: list = []
    interventions = [Recorder("a", log), Recorder("b", log)]
    options = QUICK | {"num_inference_steps": 2, "batch_size": 2}
    generate(tiny_pipeline(), ["x", "y", "z"], [0, 1, 2], interventions, **options)
    expected = [("begin", 3, -1), ("weights in", 3, -1)]
    for size in (2, 1):  # two chunks
        expected += [(door, size, -1) for door in ("text", "prompts", "latents")]
        expected += [(door, size, step) for step in (0, 1) for door in ("unet", "end of step")]
    expected = [(name, *entry) for entry in expected for name in "ab"]
    assert log[:-2] == expected
    assert log[-2:] == [("b", "weights out", 3, -1), ("a", "weights out", 3, -1)]


@pytest.mark.parametrize(("guidance_scale", "expected"), [(4.0, [False, False, True, True]), (1.0, [True, True])])
def test_conditional_rows(guidance_scale, expected):
    recorder = Recorder("a", [])
    generate(tiny_pipeline(), PROMPTS, SEEDS, [recorder], **QUICK | {"guidance_scale": guidance_scale})
    assert [rows.tolist() for rows in recorder.rows] == [expected] * 3
    assert [len(inputs) for inputs in recorder.inputs] == [len(expected)] * 3


def test_words_are_edited_before_they_are_encoded():
    pipeline = tiny_pipeline()
    edited = generate(pipeline, PROMPTS, SEEDS, [Rewriting(0.1), Rewriting(0.2)], **QUICK)
    assert np.array_equal(
        edited, generate(pipeline, [f"{prompt} in red in red in red" for prompt in PROMPTS], SEEDS, **QUICK)
    )


def test_a_set_knows_nothing_of_the_one_before_it():
    """One instance on two sets in turn, whose pictures have other numbers, and on the first one again."""
    pipeline, method = tiny_pipeline(), Numbered(0.5)
    options = QUICK | {"batch_size": 1}
    sets = [(PROMPTS, SEEDS), (PROMPTS[::-1], [2, 9]), (PROMPTS, SEEDS)]
    made = [generate(pipeline, *rows, [method], **options) for rows in sets]
    assert all(
        np.array_equal(images, generate(pipeline, *rows, [Numbered(0.5)], **options))
        for images, rows in zip(made, sets, strict=True)
    )
    assert np.array_equal(made[0], made[2]) and not np.array_equal(
        made[0][1], made[1][0]
    )  # seed 2: the second, the first


class Stubborn(Describe):
    """Has no idea of strength, at any door."""

    def edit_text(self, context, prompts):
        return ["a dog"] * len(prompts)

    def edit_prompts(self, context, conditional, unconditional):
        return PromptEmbeddings(-conditional.embeds, conditional.pooled), unconditional

    def edit_latents(self, context, latents):
        return -latents

    def end_of_step(self, context, latents):
        return latents.flip(0)


def test_strength_0_is_the_base_whatever_a_method_makes_of_it():
    pipeline, method = tiny_pipeline(), Stubborn(1.0)
    base = generate(pipeline, PROMPTS, SEEDS, **QUICK)
    assert not np.array_equal(generate(pipeline, PROMPTS, SEEDS, [method], **QUICK), base)
    method.strength = 0.0
    assert np.array_equal(generate(pipeline, PROMPTS, SEEDS, [method], **QUICK), base)


@pytest.mark.parametrize("method", [*METHODS, Numbered, OwnNegative, Stubborn])
def test_wrapped_without_a_change_is_what_it_wraps(method):
    pipeline, inner = tiny_pipeline(), method(0.5)
    wrapped = Wrapped(inner)
    for strength in (0.5, 0.2):
        wrapped.strength = strength
        images = generate(pipeline, PROMPTS, SEEDS, [wrapped], **QUICK)
        assert np.array_equal(images, generate(pipeline, PROMPTS, SEEDS, [method(strength)], **QUICK))
        assert wrapped.describe() == method(strength).describe()
    inner.reads = ("value",)
    assert wrapped.reads == ("value",)


def test_wrapped_forwards_whatever_an_intervention_has():
    doors = {name for name in vars(Intervention) if not name.startswith("_")}
    assert {"begin", "swap_weights", "edit_text", "edit_prompts", "edit_latents", "hook", "end_of_step"} <= doors
    assert doors <= vars(Wrapped).keys()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(number):
    pipeline, method = tiny_pipeline(), NoiseShift(0.5)
    with pytest.raises(UserError, match="guidance_scale (nan|-?inf): it must be a finite number"):
        generate(pipeline, PROMPTS, SEEDS, **QUICK | {"guidance_scale": number})
    method.strength = number
    with pytest.raises(UserError, match="strength (nan|-?inf): it must be a number from -100 to 100"):
        generate(pipeline, PROMPTS, SEEDS, [method], **QUICK)


@pytest.mark.parametrize("strength", [1e30, -100.5])
def test_a_strength_beyond_all_use_is_refused_before_anything_is_made(tmp_path, strength):
    record = {"file": "a.png", "prompt": "a cat", "seed": 1}
    with pytest.raises(UserError, match=f"strength {re.escape(f'{strength:g}')}: it must be a number from -100 to 100"):
        generate_set(tiny_pipeline(), [record], tmp_path / "set", [NoiseShift(strength)], **QUICK)
    assert not (tmp_path / "set").exists()
    check_strengths(strength=-100, weight=100)


class OneOverflows(Describe):
    """The second picture's noise grows beyond what numbers hold."""

    def edit_latents(self, context, latents):
        return latents * torch.tensor([1, 1e30 * self.strength])[:, None, None, None]


@pytest.mark.parametrize("steps", [1, 3])
def test_what_comes_to_no_picture_is_refused_before_it_is_decoded(steps, monkeypatch):
    pipeline = tiny_pipeline()
    monkeypatch.setattr(pipeline.vae, "decode", lambda *_, **__: pytest.fail("decoded"))
    options = QUICK | {"num_inference_steps": steps}
    with pytest.raises(UserError, match="of 'a cat' with seed 2 .* the strength 1 of OneOverflows"):
        generate(pipeline, PROMPTS, SEEDS, [OneOverflows(1.0)], **options)
    with pytest.raises(UserError, match="of 'a nurse' with seed 1 .* lower the guidance scale 1e.30$"):
        generate(pipeline, PROMPTS, SEEDS, **options | {"guidance_scale": 1e30})


def test_methods_compose():
    """The mid-block shift is linear in what it adds: twice a half is a whole, whatever else is in the list."""
    pipeline = tiny_pipeline()
    others = [PromptShift(0.1), NoiseShift(0.1)]
    whole = generate(pipeline, PROMPTS, SEEDS, [*others, MidBlockShift(0.5)], **QUICK)
    halves = generate(pipeline, PROMPTS, SEEDS, [MidBlockShift(0.25), *others, MidBlockShift(0.25)], **QUICK)
    assert np.abs(np.stack(whole).astype(int) - np.stack(halves)).max() <= 1


def test_context_knows_each_picture():
    seen = []

    class Witness(Describe):
        def edit_prompts(self, context: Context, conditional, unconditional):
            rows = (context.prompts, context.negative_prompts, context.seeds, context.records)
            seen.extend(zip(*rows, strict=True))
            return conditional, unconditional

    records = [{"value": "a"}, {"value": None}, {}]
    negative = ["n0", "n1", "n2"]
    options = QUICK | {"batch_size": 2, "negative_prompt": negative, "records": records}
    generate(tiny_pipeline(), ["x", "y", "z"], [7, 8, 9], [Witness()], **options)
    assert seen == list(zip(["x", "y", "z"], negative, [7, 8, 9], records, strict=True))


def test_failure_takes_the_hooks_and_the_weights_out_again():
    class Fail(Describe):
        def end_of_step(self, context, latents):
            raise KeyboardInterrupt

    pipeline = tiny_pipeline()
    bias = pipeline.unet.conv_out.bias.clone()
    with pytest.raises(KeyboardInterrupt):
        generate(pipeline, PROMPTS, SEEDS, [WeightSwap(), MidBlockShift(), Fail()], mixed_precision="bf16", **QUICK)
    assert torch.equal(pipeline.unet.conv_out.bias, bias)
    unet = pipeline.unet
    assert not (unet._forward_hooks or unet._forward_pre_hooks or unet.mid_block._forward_hooks)


def test_branches_of_unequal_length_are_refused():
    class Longer(Describe):
        def edit_prompts(self, context, conditional, unconditional):
            return PromptEmbeddings(torch.cat([conditional.embeds] * 2, dim=1)), unconditional

    with pytest.raises(UserError, match=r"\(2, 154, 16\) and an unconditional one of \(2, 77, 16\)"):
        generate(tiny_pipeline(), PROMPTS, SEEDS, [Longer()], **QUICK)
    generate(tiny_pipeline(), PROMPTS, SEEDS, [Longer()], **QUICK | {"guidance_scale": 1.0})


PACKAGE = """
def load_intervention(path, *, pipeline, value: str, probability: float = 1.0, flags: bool = False):
    return path, pipeline, value, probability, flags
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "some_method").mkdir()
    (tmp_path / "some_method" / "__init__.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("some_method", None)


def test_spec_names_package_path_and_typed_options(package):
    spec = "some_method:runs/a b/x?value=gender equality&probability=0.5&flags=true"
    assert load_intervention(spec, "base") == ("runs/a b/x", "base", "gender equality", 0.5, True)
    assert load_intervention("some_method:C:/x?value=a%26b", "base") == ("C:/x", "base", "a&b", 1.0, False)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_method:x", "there is no package 'no_such_method'"),
        ("no.such.method:x", "there is no package 'no.such.method'"),
        (":x", "there is no package ''"),
        ("json:x", "the package 'json' has no load_intervention"),
        ("some_method:x?valu=1", "has no option 'valu' .options: value, probability, flags"),
        ("some_method:x?pipeline=1", "has no option 'pipeline'"),
        ("some_method:x?value=a&probability=half", "option 'probability': Input should be a valid number"),
        ("some_method:x?value=a&probability=nan", "option 'probability': Input should be a finite number"),
        ("some_method:x?value=a&probability=-inf", "option 'probability': Input should be a finite number"),
        ("some_method:x", "needs the option 'value'"),
    ],
)
def test_bad_spec_is_one_clear_sentence(package, spec, message):
    with pytest.raises(UserError, match=message):
        load_intervention(spec, "base")
