"""The preference data: what is read, what is drawn, and what is refused."""

import json

import numpy as np
import pytest
import torch

from diffusion_base.errors import UserError
from diffusion_base.latents import LatentCache
from preference_data.published import read_livo_folder
from tests.tiny import tiny_pipeline
from tests.value_encoder.livo_data import SCENES, write_livo_data
from value_encoder.dataset import PreferencePairs, pair


@pytest.fixture
def root(tmp_path):
    return write_livo_data(tmp_path / "data")


@pytest.fixture
def metadata(root):
    return root / "0-career/doctor/metadata.jsonl"


def preference_pairs(root, **options):
    flip = options.pop("random_flip", False)
    cache = LatentCache(tiny_pipeline().vae, root.parent / "latents", resolution=32, **options)
    return PreferencePairs(pair(read_livo_folder(root)), cache, flip)


def test_reads_the_published_layout(root):
    pictures = pair(read_livo_folder(root))
    assert len(pictures) == 6
    first = pictures[0]
    assert (first.entry.group, first.entry.prompt, first.entry.value) == ("0-career/doctor", *SCENES["0-career/doctor"])
    assert [path.name for path in first.dispreferred] == ["2.png", "3.png"]
    assert all(path.parent == picture.entry.path.parent for picture in pictures for path in picture.dispreferred)


def test_a_scene_of_two_values_pairs_within_each(metadata):
    rows = [json.loads(line) for line in metadata.read_text().splitlines()]
    rows[1]["value"] = rows[3]["value"] = "racial equality"
    metadata.write_text("\n".join(map(json.dumps, rows)))
    first, second = pair(read_livo_folder(metadata.parents[2]))[:2]
    assert ([path.name for path in first.dispreferred], [path.name for path in second.dispreferred]) == (
        ["2.png"],
        ["3.png"],
    )


def test_items_are_a_function_of_the_rng(root):
    pairs = preference_pairs(root, random_flip=True)
    one, same = (pairs.item(1, np.random.default_rng(7)) for _ in range(2))
    assert one["preferred"].shape == one["dispreferred"].shape == (4, 8, 8)
    assert torch.equal(one["preferred"], same["preferred"]) and torch.equal(one["dispreferred"], same["dispreferred"])
    drawn = {pairs.item(1, np.random.default_rng(seed))["dispreferred"].sum().item() for seed in range(4)}
    assert len(drawn) == 4  # another partner, mirror or posterior sample


def test_every_dispreferred_picture_is_drawn(root):
    pairs = preference_pairs(root, center_crop=False)
    red = {pairs.item(0, np.random.default_rng(seed))["dispreferred"][1].mean().item() for seed in range(20)}
    assert len(red) == 2


def test_random_crops_give_pixels(root):
    item = preference_pairs(root, center_crop=False).item(0, np.random.default_rng(0))
    assert item["preferred"].shape == (3, 32, 32)
    assert item["preferred"][2].mean() > 0 > item["dispreferred"][2].mean()  # blue is preferred


def test_summary_and_examples_cover_the_values(root):
    pairs = preference_pairs(root)
    assert pairs.summary().startswith("6 preferred pictures in 3 scenes; values: bloody considered inappropriate (2), ")
    assert len({value for value, _ in pairs.examples(3)}) == 3


def edit_line(metadata, number, **changes):
    lines = metadata.read_text().splitlines()
    lines[number - 1] = json.dumps(json.loads(lines[number - 1]) | changes)
    metadata.write_text("\n".join(lines))


def test_scene_without_dispreferred_pictures(root, metadata):
    edit_line(metadata, 3, label=1)
    edit_line(metadata, 4, label=1)
    with pytest.raises(UserError, match="scene 0-career/doctor has no dispreferred picture"):
        pair(read_livo_folder(root))


def test_nothing_preferred(root):
    entries = [entry for entry in read_livo_folder(root) if not entry.preferred]
    with pytest.raises(UserError, match="none of the 6 pictures is preferred"):
        pair(iter(entries))


@pytest.mark.parametrize("damage", ["missing", "truncated", "no picture"])
def test_damaged_picture_is_named(root, damage):
    picture = root / "0-career/doctor/3.png"
    match damage:
        case "missing":
            picture.unlink()
        case "truncated":
            picture.write_bytes(picture.read_bytes()[:500])
        case "no picture":
            picture.write_text("hello")
    with pytest.raises(UserError, match=r"doctor.3\.png"):
        preference_pairs(root)


def test_fingerprint_is_of_what_is_learned_wherever_it_lies(root, metadata):
    first = preference_pairs(root, center_crop=False).fingerprint()
    moved = root.rename(root.with_name("moved"))
    metadata = moved / metadata.relative_to(root)
    assert preference_pairs(moved, center_crop=False).fingerprint() == first
    edit_line(metadata, 1, prompt="a photo of a physician")
    edited = preference_pairs(moved, center_crop=False).fingerprint()
    dispreferred = metadata.with_name("2.png")
    dispreferred.write_bytes(dispreferred.with_name("3.png").read_bytes())
    assert len({first, edited, preference_pairs(moved, center_crop=False).fingerprint()}) == 3
