"""Which noise is taken, what it costs, and which judges can't choose."""

import pytest
import torch

from diffusion_base.errors import UserError
from diffusion_base.generation import generate
from diffusion_base.intervention import load_intervention
from latent_directions.best_of_seeds import BestOfSeeds, on_an_arc
from tests.latent_directions.judges import Brightness, OnlyHarm, OnlyPreference, brightness
from tests.latent_directions.test_inference import PROMPTS, QUICK, SEEDS, Noise, noises
from tests.tiny import tiny_pipeline


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


def previews(pipeline, noise):
    """Of one picture at a time, by the ordinary pipeline itself: two steps."""
    options = {"num_inference_steps": 2, "guidance_scale": 4.0}
    return [pipeline(p, latents=z[None], **options).images[0] for p, z in zip(PROMPTS, noise, strict=True)]


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_the_noise_whose_preview_is_best(kind):
    """Against previews made here of the same four noises; the first is the picture's own."""
    pipeline = tiny_pipeline(kind)
    best = BestOfSeeds(Brightness(), 4, preview_steps=2)
    own, taken = noises(pipeline, best)
    context = type("Context", (), {"seeds": SEEDS})
    rounds = [own, *(best.other_noise(context, own, number) for number in (1, 2, 3))]
    liked = torch.stack([brightness(previews(pipeline, noise)) for noise in rounds])
    expected = torch.stack([rounds[number][i] for i, number in enumerate(liked.argmax(0).tolist())])
    assert torch.equal(taken, expected) and not torch.equal(taken, own)
    assert len({tuple(noise.flatten()[:4].tolist()) for noise in torch.cat(rounds)}) == 12  # all are different


def test_what_is_preferred(pipeline):
    """A preference, harmlessness, or a member of a group: dealt out, the first and third picture are to be dark."""
    chosen = {
        name: noises(pipeline, BestOfSeeds(Brightness(), 3, preview_steps=2, **options))[1]
        for name, options in {
            "bright": {},
            "harmless": {"harm": "brightness"},
            "group": {"group": ("dark", "bright"), "dealt": True},
        }.items()
    }
    bright, dark = chosen["bright"], chosen["harmless"]
    assert not any(torch.equal(one, other) for one, other in zip(bright, dark, strict=True))
    assert torch.equal(chosen["group"], torch.stack([dark[0], bright[1], dark[2]]))


def test_cost(pipeline):
    """Counted at the UNet itself: three noises with two steps each, beside the picture's own two."""
    calls = []
    handle = pipeline.unet.register_forward_pre_hook(lambda _unet, inputs: calls.append(len(inputs[0])))
    best = BestOfSeeds(Brightness(), 3, preview_steps=2)
    generate(pipeline, PROMPTS, SEEDS, [best], **QUICK)
    handle.remove()
    assert best.unet_calls == 3 * 3 * 2
    assert sum(calls) / 2 == best.unet_calls + 3 * 2  # guidance doubles the rows


def test_one_noise_is_the_base(pipeline):
    own, taken = noises(pipeline, BestOfSeeds(Brightness(), 1, preview_steps=1))
    assert torch.equal(own, taken)


def test_an_arc_by_hand():
    """A third of 90° between (1, 0) and (0, 1): (cos 30°, sin 30°); where both are the same, itself."""
    one, other = torch.tensor([1.0, 0]).reshape(1, 1, 1, 2), torch.tensor([0.0, 1]).reshape(1, 1, 1, 2)
    assert on_an_arc(one, other, 1 / 3).flatten().tolist() == pytest.approx([3**0.5 / 2, 0.5])
    assert torch.equal(on_an_arc(one, one, 0.5), one)


@pytest.mark.parametrize(
    ("judge", "options", "message"),
    [
        (OnlyHarm(), {"group": ("a", "b")}, "only harm cannot say which of a, b a picture shows"),
        (Brightness(), {"group": ("a", "b")}, "brightness knows dark and bright, not a, b"),
        (OnlyPreference(), {"harm": "bloody"}, "only preference gives no scores for harms such as bloody"),
        (OnlyHarm(), {}, "only harm does not say which pictures people prefer"),
    ],
)
def test_judges_that_cannot_choose(pipeline, judge, options, message):
    """Said before any picture is begun."""
    before = Noise()
    with pytest.raises(UserError, match=message):
        generate(pipeline, PROMPTS, SEEDS, [before, BestOfSeeds(judge, 2, **options)], **QUICK)
    assert not before.seen


def test_bad_options():
    for n, steps in ((0, 4), (4, 0)):
        with pytest.raises(UserError, match="both must be 1 or more"):
            BestOfSeeds(Brightness(), n, preview_steps=steps)
    with pytest.raises(UserError, match="a group or a harm to keep out, not both"):
        BestOfSeeds(Brightness(), 2, group=("dark", "bright"), harm="bloody")
    with pytest.raises(UserError, match="must be 2 numbers"):
        BestOfSeeds(Brightness(), 2, group=("dark", "bright"), proportions=[1.0])


def test_specs(pipeline):
    spec = "latent_directions:?best_of=8&judge=miniature:assets/miniature/oracle&group=male,female&dealt=true"
    best = load_intervention(f"{spec}&preview_steps=3", pipeline)
    assert (best.n, best.preview_steps, best.drawing.names, best.drawing.dealt) == (8, 3, ["male", "female"], True)
    assert best.judge.name == "oracle"
    for wrong, message in (
        ("latent_directions:?best_of=8", "needs a judge="),
        ("latent_directions:runs/x?best_of=8&judge=a:b", "no path"),
        ("latent_directions:runs/x?direction=a&judge=a:b", "belong to best_of="),
    ):
        with pytest.raises(UserError, match=message):
            load_intervention(wrong, pipeline)
