"""How far the noise is moved, whose noise, in which units; who gets which member; which files are opened or refused."""

import json

import numpy as np
import pytest
import torch

from diffusion_base.errors import UserError
from diffusion_base.generation import generate
from diffusion_base.intervention import Intervention, load_intervention
from latent_directions.directions import load_directions, read_directions
from latent_directions.inference import FairDirections, LatentDirection
from latent_directions.weights import Weights, read_weights
from tests.latent_directions.latents import random_directions, unit
from tests.tiny import tiny_pipeline

PROMPTS, SEEDS = ["a nurse", "a cat", "a pilot"], [3, 4, 5]
QUICK = {"num_inference_steps": 2, "guidance_scale": 4.0, "progress": False, "batch_size": 2}


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def directions(pipeline):
    return random_directions(pipeline)


class Noise(Intervention):
    """Writes down the noise as it stands at its place in the list."""

    def __init__(self):
        self.seen = []

    def describe(self):
        return {}

    def edit_latents(self, context, latents):
        self.seen.append(latents)
        return latents


def noises(pipeline, *interventions, prompts=PROMPTS, seeds=SEEDS, **options):
    """Before and after, (n, C, h, w) each."""
    before, after = Noise(), Noise()
    generate(pipeline, prompts, seeds, [before, *interventions, after], **QUICK | options)
    return torch.cat(before.seen), torch.cat(after.seen)


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_the_noise_door(kind):
    """Every picture's own noise, z + strength · weight · d, in the base's precision; the base is left as it was."""
    pipeline = tiny_pipeline(kind)
    directions = random_directions(pipeline)
    moved = LatentDirection(directions, "female", pipeline=pipeline, step=10, weight=8.0, strength=0.5)
    before, after = noises(pipeline, moved)
    expected = torch.stack([torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in SEEDS])
    assert torch.equal(before, expected)
    shift = 4.0 * directions.tensors["svm", "female", 10]
    torch.testing.assert_close(after - before, shift.expand(3, -1, -1, -1), rtol=0, atol=1e-5)
    base, changed = (np.stack(generate(pipeline, PROMPTS, SEEDS, each, **QUICK)) for each in ([], [moved]))
    assert (base != changed).any()
    moved.strength = 0
    assert (np.stack(generate(pipeline, PROMPTS, SEEDS, [moved], **QUICK)) == base).all()


def test_units_and_norm_by_hand(pipeline, directions):
    """.1 in units of ‖z‖ moves each noise by a tenth of its own length; with the norm kept, only the angle changes."""
    d = directions.tensors["svm", "female", 5]
    options = {"pipeline": pipeline, "step": 5, "weight": 0.1, "units": "noise"}
    before, after = noises(pipeline, LatentDirection(directions, "female", **options))
    lengths = before.flatten(1).norm(dim=1)
    torch.testing.assert_close(after, before + 0.1 * lengths[:, None, None, None] * d, rtol=0, atol=1e-5)
    before, kept = noises(pipeline, LatentDirection(directions, "female", **options, keep_norm=True))
    torch.testing.assert_close(kept.flatten(1).norm(dim=1), lengths)
    torch.testing.assert_close(kept / kept.flatten(1).norm(dim=1)[:, None, None, None],
                               after / after.flatten(1).norm(dim=1)[:, None, None, None])  # fmt: skip


def test_sums_in_one_and_in_a_list(pipeline, directions):
    """Within one intervention, and one after the other."""
    female, dark = (directions.tensors["svm", name, 5] for name in ("female", "dark"))
    one = LatentDirection(directions, "female - 0.5*dark", pipeline=pipeline, step=5, weight=2.0)
    two = [LatentDirection(directions, name, pipeline=pipeline, step=5, weight=w) for name, w in
           (("female", 2.0), ("dark", -1.0))]  # fmt: skip
    for interventions in ([one], two):
        before, after = noises(pipeline, *interventions)
        torch.testing.assert_close(after - before, (2 * female - dark).expand(3, -1, -1, -1), rtol=0, atol=1e-5)


def test_the_step_that_is_advised(pipeline, directions):
    """A fifth of 25 steps is 5; of the authors' files index 2."""
    assert torch.equal(directions.find("female", "svm", None), directions.tensors["svm", "female", 5])
    with pytest.raises(UserError, match="no direction of female at step 7; there are 0, 5, 10"):
        directions.find("female", "svm", 7)
    with pytest.raises(UserError, match="no direction 'femal'; did you mean 'female'"):
        directions.find("femal", "svm", None)
    with pytest.raises(UserError, match="no fit 'lda' of female; there are svm, means"):
        directions.find("female", "lda", None)


def test_each_picture_gets_its_members_move(pipeline, directions):
    members = [LatentDirection(directions, name, pipeline=pipeline, weight=5.0) for name in ("male", "female")]
    group = FairDirections(members, strength=2.0)
    prompts, seeds = PROMPTS * 2, range(6)
    numbers = [group.drawing.member(prompt, seed, {}) for prompt, seed in zip(prompts, seeds, strict=True)]
    assert set(numbers) == {0, 1}
    for batch_size in (1, 4):
        before, after = noises(pipeline, group, prompts=prompts, seeds=seeds, batch_size=batch_size)
        expected = torch.stack([10 * members[number].vector for number in numbers])
        torch.testing.assert_close(after - before, expected, rtol=0, atol=1e-5)
    dealt = FairDirections(members, dealt=True)
    before, after = noises(pipeline, dealt, prompts=["a nurse"] * 4, seeds=range(4))
    expected = torch.stack([5 * members[number].vector for number in (0, 1, 0, 1)])
    torch.testing.assert_close(after - before, expected, rtol=0, atol=1e-5)
    named = [{"concepts": ["female"]}] * 3
    before, after = noises(pipeline, group, records=named)
    torch.testing.assert_close(after - before, (10 * members[1].vector).expand(3, -1, -1, -1), rtol=0, atol=1e-5)


def test_a_weight_a_subject(pipeline, directions, tmp_path):
    """The longest subject that the prompt names, as whole words; else the default."""
    weights = Weights(1.0, {"nurse": -3.0, "police officer": 4.0, "officer": 2.0})
    assert [weights.of(prompt) for prompt in ("A Nurse at work", "a police officer", "an officer", "nurses")] == [
        -3, 4, 2, 1,
    ]  # fmt: skip
    weights.save(tmp_path / "weights.json")
    assert read_weights(tmp_path / "weights.json") == weights
    moved = LatentDirection(directions, "female", pipeline=pipeline, weight=read_weights(tmp_path / "weights.json"))
    before, after = noises(pipeline, moved)
    expected = torch.stack([weight * moved.vector for weight in (-3.0, 1.0, 1.0)])
    torch.testing.assert_close(after - before, expected, rtol=0, atol=1e-5)


def test_bad_weights(pipeline, directions, tmp_path):
    for number in (float("nan"), float("inf")):
        with pytest.raises(UserError, match="weight (nan|inf) .default.: it must be a finite number"):
            LatentDirection(directions, "female", pipeline=pipeline, weight=number)
        with pytest.raises(UserError, match="strength (nan|inf): it must be a number from -100 to 100"):
            LatentDirection(directions, "female", pipeline=pipeline, strength=number)
    with pytest.raises(UserError, match="weight nan .pilot."):
        Weights(1.0, {"pilot": float("nan")})
    (tmp_path / "table.json").write_text('{"pilot": 3}')
    with pytest.raises(UserError, match="table.json is no table of weights"):
        read_weights(tmp_path / "table.json")
    with pytest.raises(UserError, match="nothing.json cannot be read"):
        read_weights(tmp_path / "nothing.json")
    with pytest.raises(UserError, match="units 'pixels': there are no such units; there are vector, noise"):
        LatentDirection(directions, "female", pipeline=pipeline, units="pixels")


def test_pictures_of_another_size(pipeline, directions):
    moved = LatentDirection(directions, "female", pipeline=pipeline)
    with pytest.raises(UserError, match="the direction has the shape 4×8×8, and these pictures' noise has 4×16×8"):
        generate(pipeline, PROMPTS, SEEDS, [moved], height=64, **QUICK)


def test_our_file(pipeline, directions, tmp_path):
    file = directions.save(tmp_path)
    for path in (file, tmp_path, str(tmp_path)):
        read = load_directions(path, pipeline)
        assert read.tensors.keys() == directions.tensors.keys() and read.num_inference_steps == 25
        assert all(torch.equal(read.tensors[key], directions.tensors[key]) for key in read.tensors)
    with pytest.raises(UserError, match="was learned on another base"):
        load_directions(tmp_path, tiny_pipeline(seed=1))
    other = load_directions(tmp_path, tiny_pipeline(seed=1), other_base=True)
    described = LatentDirection(other, "female", pipeline=pipeline).describe()
    assert "learned on another base" in described["warning"]
    file.write_bytes(b"half a file")
    with pytest.raises(UserError, match="is not a file of latent directions, or a damaged one"):
        read_directions(tmp_path)
    with pytest.raises(UserError, match="no directions are here; expected a folder with directions.safetensors"):
        read_directions(tmp_path / "nowhere")


def test_another_shape(pipeline, tmp_path):
    random_directions(pipeline, shape=(4, 16, 16)).save(tmp_path)
    with pytest.raises(UserError, match="have the shape 4×16×16, but this base's noise has 4×8×8"):
        load_directions(tmp_path, pipeline)


def test_the_authors_files(pipeline, tmp_path):
    """A file alone, and a folder of them, of which index 2 is the default; as long as they are."""
    for index in range(4):
        np.save(tmp_path / f"African_man_{index}.npy", (3 * unit(index))[None].numpy())
    alone = LatentDirection(tmp_path / "African_man_1.npy", "African_man", pipeline=pipeline)
    assert torch.equal(alone.vector, 3 * unit(1))
    of_folder = LatentDirection(tmp_path, "African_man", pipeline=pipeline, step=3)
    assert torch.equal(of_folder.vector, 3 * unit(3))
    assert torch.equal(LatentDirection(tmp_path, "African_man", pipeline=pipeline).vector, 3 * unit(2))


def test_numpy_files_that_are_refused(tmp_path):
    np.save(tmp_path / "a_0.npy", np.array([{"code": "anything"}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="a_0.npy can't be read .* a file that needs pickle is not opened"):
        read_directions(tmp_path / "a_0.npy")
    for name, array, message in (
        ("b_0", np.ones((2, 4, 8, 8)), "holds 2×4×8×8 of float64; 1×C×h×w numbers are expected"),
        ("c_0", np.ones((1, 4, 8, 8), dtype=int), "of int64; 1×C×h×w numbers are expected"),
        ("d_0", np.full((1, 4, 8, 8), np.nan), "the direction of d at step 0 is no vector of finite numbers"),
        ("e", np.ones((1, 4, 8, 8)), "its name must be a class and the index of a step, e.g. female_2.npy"),
    ):
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(UserError, match=message):
            read_directions(tmp_path / f"{name}.npy")


def test_joined_files(pipeline):
    gender, tone = (random_directions(pipeline, names) for names in (("male", "female"), ("dark",)))
    assert gender.joined(tone).classes == ["male", "female", "dark"]
    with pytest.raises(UserError, match="have both a direction 'male'"):
        gender.joined(gender)
    with pytest.raises(UserError, match="directions of two shapes, 4×8×8 and 4×4×4"):
        gender.joined(random_directions(pipeline, ("dark",), (4, 4, 4)))


def test_specs(pipeline, directions, tmp_path):
    random_directions(pipeline, ("male", "female")).save(tmp_path / "gender")
    random_directions(pipeline, ("dark",)).save(tmp_path / "tone")
    (tmp_path / "weights.json").write_text(json.dumps({"default": 2, "weights": {"pilot": 5}}))
    path = f"latent_directions:{tmp_path / 'gender'}"
    options = "fit=means&step=10&weight=0.04&units=noise&keep_norm=true&strength=0.5"
    one = load_intervention(f"{path}?direction=female+dark&also={tmp_path / 'tone'}&{options}", pipeline)
    expected = LatentDirection(one_of(tmp_path, pipeline), "female dark", pipeline=pipeline, fit="means", step=10,
                               weight=0.04, units="noise", keep_norm=True, strength=0.5)  # fmt: skip
    assert one.describe() == expected.describe()
    table = load_intervention(f"{path}?direction=female&weights={tmp_path / 'weights.json'}", pipeline)
    assert table.weights == Weights(2, {"pilot": 5})
    group = load_intervention(f"{path}?group=male,female&dealt=true&proportions=0.3,0.7&strength=2", pipeline)
    assert [member.name for member in group.members] == ["male", "female"] and group.strength == 2
    assert group.drawing.dealt and group.drawing.proportions == [0.3, 0.7]
    for wrong, message in (
        ("", "give one of direction=, group="),
        ("direction=female&group=male", "give one of direction=, group="),
        ("direction=female&dealt=true", "belong to a group="),
        ("group=male,female&proportions=a,b", "must be numbers such as 0.3,0.7"),
        ("direction=female&weight=nan", "finite"),
    ):
        with pytest.raises(UserError, match=message):
            load_intervention(f"{path}?{wrong}", pipeline)


def one_of(folder, pipeline):
    return load_directions(folder / "gender", pipeline).joined(load_directions(folder / "tone", pipeline))
