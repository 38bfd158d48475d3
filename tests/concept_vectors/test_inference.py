"""Which rows a vector reaches, how strongly, when; who gets which member of a group; and what is refused."""

from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image

from concept_vectors.bottleneck import Schedule
from concept_vectors.inference import ConceptVector, FairGroup, TwoTrajectories
from concept_vectors.responsible_text import ResponsibleText
from diffusion_base.conditioning import encode_prompts
from diffusion_base.errors import UserError
from diffusion_base.generation import generate, generate_set
from diffusion_base.groups import deal
from diffusion_base.intervention import Intervention, load_intervention
from tests.concept_vectors.vector_files import random_vectors, write_vectors
from tests.tiny import tiny_pipeline

PROMPTS, SEEDS = ["a nurse", "a cat", "a pilot"], [3, 4, 5]
QUICK = {"num_inference_steps": 4, "guidance_scale": 4.0, "progress": False, "batch_size": 2}


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def vectors(pipeline):
    return random_vectors(pipeline)


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory):
    return write_vectors(tmp_path_factory.mktemp("vectors"), pipeline)


class MidBlock(Intervention):
    """Writes down the mid block's output as it stands at its place in the list."""

    def __init__(self):
        self.outputs = []

    def describe(self):
        return {}

    @contextmanager
    def hook(self, context, denoiser):
        handle = denoiser.mid_block.register_forward_hook(lambda _module, _inputs, output: self.outputs.append(output))
        yield
        handle.remove()


def added(pipeline, intervention, **options):
    """What an intervention adds at each UNet call: one (rows, C, h, w) a call."""
    before, after = MidBlock(), MidBlock()
    records = options.pop("records", None)
    generate(pipeline, PROMPTS, SEEDS, [before, intervention, after], records=records, **QUICK | options)
    return [late - early for early, late in zip(before.outputs, after.outputs, strict=True)]


def pixels(pipeline, interventions, **options):
    images = generate(pipeline, PROMPTS, SEEDS, interventions, **QUICK | options)
    return np.stack(images).astype(int)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_every_conditional_row_and_never_an_unconditional_one(kind, per_channel):
    """Batches of two and of one picture: with guidance 4 and 2 rows, the second halves conditional; else 2 and 1."""
    pipeline = tiny_pipeline(kind)
    vectors = random_vectors(pipeline, per_channel=per_channel)
    woman = vectors.tensors["woman"].reshape(16, *((1, 1) if per_channel else (4, 4))).expand(16, 4, 4)
    vector = ConceptVector(vectors, "woman", pipeline=pipeline)
    for scale, sizes in ((4.0, [4] * 4 + [2] * 4), (1.0, [2] * 4 + [1] * 4)):
        shifts = added(pipeline, vector, guidance_scale=scale)
        assert [len(shift) for shift in shifts] == sizes
        for shift in shifts:
            pictures = len(shift) // 2 if scale > 1 else len(shift)
            assert torch.count_nonzero(shift[:-pictures]) == 0
            torch.testing.assert_close(shift[-pictures:], woman.expand(pictures, -1, -1, -1), rtol=0, atol=1e-4)


def test_the_base_is_left_as_it_was(pipeline, vectors):
    base = pixels(pipeline, [])
    changed = pixels(pipeline, [ConceptVector(vectors, "woman", pipeline=pipeline)])
    assert all((one != other).any() for one, other in zip(base, changed, strict=True))
    assert (pixels(pipeline, [ConceptVector(vectors, "woman", pipeline=pipeline, strength=0)]) == base).all()
    assert (pixels(pipeline, []) == base).all() and not pipeline.unet.mid_block._forward_hooks


def test_strength_and_weights_multiply_and_add(pipeline, vectors):
    man, harmless = vectors.tensors["man"], vectors.tensors["anti-bloody"]
    both = ConceptVector(vectors, "0.7*man - 2*anti-bloody", pipeline=pipeline, strength=0.5)
    expected = 0.5 * (0.7 * man - 2 * harmless)
    for shift in added(pipeline, both, guidance_scale=1.0):
        torch.testing.assert_close(shift, expected.expand_as(shift), rtol=0, atol=1e-4)
    parts = [
        ConceptVector(vectors, "man", pipeline=pipeline, strength=0.35),
        ConceptVector(vectors, "anti-bloody", pipeline=pipeline, strength=-1.0),
    ]
    assert np.abs(pixels(pipeline, [both]) - pixels(pipeline, parts)).max() <= 1


def test_schedules_by_hand():
    """At progress 0, 0.25, 0.5, 0.75: rising is that number, falling the rest; a stretch excludes its end."""
    progress = torch.tensor([0.0, 0.25, 0.5, 0.75])
    assert Schedule()(progress).tolist() == [1, 1, 1, 1]
    assert Schedule("rising")(progress).tolist() == [0, 0.25, 0.5, 0.75]
    assert Schedule("falling")(progress).tolist() == [1, 0.75, 0.5, 0.25]
    assert Schedule(start=0.25, end=0.75)(progress).tolist() == [0, 1, 1, 0]


def test_a_schedule_over_the_steps(pipeline, vectors):
    """Four steps begin at about 0, 1/4, 1/2, 3/4 of the way: the vector acts in the first two, ever less."""
    vector = ConceptVector(vectors, "woman", pipeline=pipeline, schedule=Schedule("falling", end=0.4))
    norm = vectors.tensors["woman"].norm()
    factors = [float(shift[-1].norm() / norm) for shift in added(pipeline, vector)[:4]]
    assert factors == pytest.approx([1.0, 0.75, 0.0, 0.0], abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": "sudden"}, "no such schedule; there are constant, rising, falling"),
        ({"start": 0.5, "end": 0.5}, "start 0.5 and end 0.5 must keep to"),
        ({"end": 1.5}, "start 0 and end 1.5 must keep to"),
    ],
)
def test_impossible_schedules(options, message):
    with pytest.raises(UserError, match=message):
        Schedule(**options)


def test_two_trajectories_are_averaged_at_every_step(vectors):
    """Against the paper's rule spelled out: two DDIM steps from the same x_t, with and without, and their mean."""
    pipeline = tiny_pipeline()
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    vector = ConceptVector(vectors, "woman", pipeline=pipeline)
    latents = []

    class End(Intervention):
        def describe(self):
            return {}

        def end_of_step(self, context, now):
            latents.append(now)
            return now

    options = QUICK | {"guidance_scale": 1.0, "batch_size": 1}
    generate(pipeline, PROMPTS[:1], SEEDS[:1], [TwoTrajectories(vector), End()], **options)

    text = encode_prompts(pipeline, PROMPTS[:1]).embeds
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(SEEDS[0]))
    pipeline.scheduler.set_timesteps(4)
    with torch.no_grad():
        for i, t in enumerate(pipeline.scheduler.timesteps):
            ends = []
            for scale in (0.0, 1.0):
                shift = scale * vectors.tensors["woman"]
                handle = pipeline.unet.mid_block.register_forward_hook(lambda _m, _i, h, shift=shift: h + shift)
                prediction = pipeline.unet(x, t, text).sample
                handle.remove()
                ends.append(pipeline.scheduler.step(prediction, t, x).prev_sample)
            x = (ends[0] + ends[1]) / 2
            torch.testing.assert_close(latents[i], x, rtol=1e-4, atol=1e-5)
    assert (ends[0] - ends[1]).abs().max() > 0.01


def test_two_trajectories_leave_unconditional_rows_alone_in_bf16_too(pipeline, vectors):
    vector = ConceptVector(vectors, "woman", pipeline=pipeline)
    both = TwoTrajectories(vector)
    base, half, full = (pixels(pipeline, [i] if i else [], mixed_precision="bf16") for i in (None, both, vector))
    assert 0 < np.abs(half - base).mean() < np.abs(full - base).mean()
    assert both.describe() == vector.describe() | {"two_trajectories": True}


def fair(pipeline, vectors, *names, **options):
    return FairGroup([ConceptVector(vectors, name, pipeline=pipeline) for name in names or ("man", "woman")], **options)


def test_each_picture_is_its_members_whatever_is_made_beside_it(pipeline, vectors):
    group = fair(pipeline, vectors)
    members = [group.drawing.member(prompt, seed, {}) for prompt, seed in zip(PROMPTS, SEEDS, strict=True)]
    assert set(members) == {0, 1}  # these seeds draw both
    of_each = [pixels(pipeline, [ConceptVector(vectors, name, pipeline=pipeline)]) for name in ("man", "woman")]
    for batch_size in (1, 2, 3):
        drawn = pixels(pipeline, [group], batch_size=batch_size)
        for i, member in enumerate(members):
            assert np.abs(drawn[i] - of_each[member][i]).max() <= 1
            assert np.abs(drawn[i] - of_each[1 - member][i]).max() > 1


def test_draws_are_fair_in_proportion_and_independent(pipeline, vectors):
    even, uneven = fair(pipeline, vectors), fair(pipeline, vectors, proportions=[0.2, 0.8])
    other = fair(pipeline, vectors, "man", "anti-bloody")
    drawn = [[group.drawing.member("", seed, {}) for seed in range(1000)] for group in (even, uneven, other)]
    assert 437 <= sum(drawn[0]) <= 563  # 4 standard deviations
    assert 749 <= sum(drawn[1]) <= 851
    assert 437 <= sum(a == b for a, b in zip(drawn[0], drawn[2], strict=True)) <= 563


def test_dealing_by_hand():
    """Three members in turn; of shares 0.75 and 0.25 the second comes once in four."""
    assert deal([1 / 3] * 3, 7) == [0, 1, 2, 0, 1, 2, 0]
    assert deal([0.75, 0.25], 8) == [0, 0, 1, 0, 0, 0, 1, 0]
    assert deal([0.0, 1.0], 3) == [1, 1, 1]


@pytest.mark.parametrize("batch_size", [2, 3, 5])
def test_dealt_evenly_in_all_and_for_each_prompt(pipeline, vectors, batch_size):
    """Five pictures of each of two prompts, their order mixed: 5 and 5, and 3 and 2 of each prompt."""
    group = fair(pipeline, vectors, dealt=True)
    prompts = ["a nurse", "a cat"] * 5
    seen = {}

    class Witness(Intervention):
        def describe(self):
            return {}

        def edit_latents(self, context, latents):
            for picture in zip(context.prompts, context.seeds, context.records, strict=True):
                seen[picture[:2]] = group.drawing.member(*picture)
            return latents

    generate(pipeline, prompts, range(10), [group, Witness()], **QUICK | {"batch_size": batch_size})
    assert Counter(seen.values()) == {0: 5, 1: 5}
    of_nurses = [seen["a nurse", seed] for seed in range(0, 10, 2)]
    assert of_nurses == [0, 1, 0, 1, 0]
    assert [seen["a cat", seed] for seed in range(1, 10, 2)] == [1, 0, 1, 0, 1]


def test_a_resumed_set_deals_the_same(pipeline, vectors, tmp_path):
    records = [{"file": f"{i}.png", "prompt": "a nurse", "seed": i} for i in range(5)]
    options = {"num_inference_steps": 2, "progress": False, "batch_size": 2}
    group = fair(pipeline, vectors, dealt=True)
    folder = generate_set(pipeline, records, tmp_path, [group], **options)
    first = [np.asarray(Image.open(folder / "images" / record["file"])) for record in records]
    (folder / "images/3.png").unlink()
    generate_set(pipeline, records, tmp_path, [group], **options)
    again = [np.asarray(Image.open(folder / "images" / record["file"])) for record in records]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_a_record_names_the_member(pipeline, vectors):
    group = fair(pipeline, vectors, dealt=True)
    records = [{"concepts": ["old", "woman"]}, {"concepts": ["man"]}, {"concepts": ["woman"]}]
    named = [group.drawing.member("", 0, record) for record in records]
    assert named == [1, 0, 1]
    shifts = added(pipeline, group, guidance_scale=1.0, records=records)
    expected = torch.stack([vectors.tensors["woman"], vectors.tensors["man"]])
    torch.testing.assert_close(shifts[0], expected, rtol=0, atol=1e-4)


def test_another_picture_size(pipeline, vectors):
    with pytest.raises(UserError, match="bottleneck of 4×4 places, and these pictures have 8×8"):
        pixels(pipeline, [ConceptVector(vectors, "woman", pipeline=pipeline)], height=64, width=64)
    by_channel = random_vectors(pipeline, per_channel=True)
    assert pixels(pipeline, [ConceptVector(by_channel, "woman", pipeline=pipeline)], height=64).shape == (3, 64, 32, 3)


@pytest.mark.parametrize("proportions", [[0.5, 0.4], [1.0], [1.5, -0.5], [0.2, 0.3, 0.5], [float("nan"), 0.5]])
def test_proportions_that_are_none(pipeline, vectors, proportions):
    with pytest.raises(UserError, match="must be 2 numbers, one for each of man, woman, and sum to 1"):
        fair(pipeline, vectors, proportions=proportions)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e12])
def test_strengths_that_make_no_picture(pipeline, vectors, number):
    for make in (
        lambda: ConceptVector(vectors, "man", pipeline=pipeline, strength=number),
        lambda: fair(pipeline, vectors, strength=number),
        lambda: ResponsibleText(vectors, pipeline=pipeline, strength=number),
    ):
        with pytest.raises(UserError, match="strength (nan|inf|1e.12): it must be a number from -100 to 100"):
            make()


def test_the_strength_of_two_trajectories_is_that_of_what_they_average(pipeline, vectors):
    """It can be set later, which once did nothing; and what is averaged keeps its other doors."""
    both = TwoTrajectories(ConceptVector(vectors, "woman", pipeline=pipeline))
    both.strength = 0.25
    assert both.inner.strength == both.describe()["strength"] == 0.25
    expected = TwoTrajectories(ConceptVector(vectors, "woman", pipeline=pipeline, strength=0.25))
    assert (pixels(pipeline, [both]) == pixels(pipeline, [expected])).all()
    assert (pixels(pipeline, [TwoTrajectories(Ends())]) == pixels(pipeline, [Ends()])).all()
    assert (pixels(pipeline, [Ends()]) != pixels(pipeline, [])).any()


class Ends(Intervention):
    """Changes the noise and the end of every step."""

    def describe(self):
        return {}

    def edit_latents(self, context, latents):
        return latents + 0.5

    def end_of_step(self, context, latents):
        return latents * 0.9


def test_specs(pipeline, folder):
    def load(options):
        return load_intervention(f"concept_vectors:{folder}?{options}", pipeline)

    one = load("concept=woman&strength=0.5&schedule=rising&start=0.2&end=0.9")
    assert (one.name, one.strength, one.schedule) == ("woman", 0.5, Schedule("rising", 0.2, 0.9))
    vectors = random_vectors(pipeline).tensors
    torch.testing.assert_close(
        load("concept=0.7*woman+anti-bloody").vector, 0.7 * vectors["woman"] + vectors["anti-bloody"]
    )
    group = load("group=man,0.5*woman+anti-bloody&proportions=0.3,0.7&dealt=true&strength=2")
    assert (group.drawing.names, group.drawing.proportions) == (["man", "0.5*woman anti-bloody"], [0.3, 0.7])
    assert group.drawing.dealt and group.strength == 2
    averaged = load("concept=man&two_trajectories=true")
    assert isinstance(averaged, TwoTrajectories) and averaged.inner.name == "man"
    described = [load(options).describe() for options in ("concept=man", "concept=woman", "group=man,woman")]
    assert described[0] != described[1] and described[2]["group"] == described[:2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("strength=1", "give one of concept=, .*; the concepts are anti-bloody, man, woman"),
        ("concept=man&group=man,woman", "give one of"),
        ("concept=wmoan", "no concept 'wmoan'; did you mean 'woman'"),
        ("concept=man&dealt=true", "belongs to a group="),
        ("group=man,woman&proportions=a,b", "must be numbers such as"),
        ("group=man,woman&proportions=0.3,0.3", "sum to 1"),
        ("group=man,", "is not a concept"),
        ("colour=red", "no option 'colour'"),
        ("concept=man&strength=1e6", "strength 1e.06: it must be a number from -100 to 100"),
        ("concept=1000000*man", "the weight of man 1e.06: it must be a number from -100 to 100"),
        ("concept=man&strength=nan", "option 'strength': Input should be a finite number"),
        ("group=man,woman&proportions=nan,0.5", "sum to 1"),
    ],
)
def test_bad_specs(pipeline, folder, options, message):
    with pytest.raises(UserError, match=message):
        load_intervention(f"concept_vectors:{folder}?{options}", pipeline)
