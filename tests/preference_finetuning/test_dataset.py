"""Items of what people like: which rows an objective takes, what is drawn of them, what is said of wrong data."""

import json

import numpy as np
import pytest
import torch

from diffusion_base.data import load_image, mirror, square, to_tensor
from diffusion_base.errors import UserError
from diffusion_base.latents import LatentCache
from preference_data import Labelled, Scored, open_rows, write_records
from preference_finetuning.dataset import Preferences, fitting
from tests.preference_finetuning.liked import write_pairs, write_pictures, write_table
from tests.tiny import tiny_vae


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_pairs(folder / "pairs")
    return write_table(folder)


@pytest.fixture(scope="module")
def vae():
    return tiny_vae().requires_grad_(False)


def preferences(rows, vae, folder, **options):
    return Preferences(rows, LatentCache(vae, folder / "latents", 32), **options)


def labels_of(items):
    return [bool(item["preferred"]) for item in items]


def test_what_fits(data):
    table, pairs = open_rows(data, intersections="preferred"), open_rows(data / "pairs/pairs.jsonl")
    assert len(fitting(table, "kto", "drop")) == 8 and len(fitting(table, "sft", "drop")) == 5
    assert fitting(pairs, "dpo", "drop") is pairs and len(fitting(pairs, "kto", "drop")) == 8
    assert fitting(pairs, "sft", "drop").preferred.tolist() == [True] * 4
    rewards = [row.reward for row in fitting(table, "reward_weighted", "drop")]
    assert rewards == [1, 0, 1, 0, 1, 0, 1, 1]


def test_what_does_not_fit(data, tmp_path):
    table = open_rows(data)
    with pytest.raises(
        UserError, match="dpo needs pairs, and .* holds labels: those fit csft, kto, kto_gp, rew.*, sft;"
    ):
        fitting(table, "dpo", "drop")
    for side in (True, False):
        with pytest.raises(UserError, match=f"has no {'dis' if side else ''}preferred picture, and --objective kto"):
            fitting(table.take(table.preferred == side), "kto", "drop")
    with pytest.raises(UserError, match="none of its pictures is of use to --objective sft"):
        fitting(table.take(~table.preferred), "sft", "drop")
    with pytest.raises(UserError, match="--objective nothing: there is none of that name; there are csft, dpo"):
        fitting(table, "nothing", "drop")
    files = write_pictures(tmp_path, 2)
    write_records(tmp_path / "scores.jsonl", [Scored(file, "p", 0.5) for file in files])
    with pytest.raises(UserError, match="holds scalars: those fit reward_weighted;"):
        fitting(open_rows(tmp_path / "scores.jsonl"), "kto", "drop")


def test_items(data, vae, tmp_path):
    """A pair's two pictures lie as the first and the second one; a picture of 32 × 40 pixels loses 4 above."""
    items = preferences(fitting(open_rows(data / "pairs/pairs.jsonl"), "dpo", "drop"), vae, tmp_path)
    item = items.item(1, np.random.default_rng(0))
    assert item["pictures"].shape == (2, 4, 8, 8) and item["prompt"] == "a photo of cat 2"
    assert item["size"].tolist() == [[40, 32, 4, 0, 32, 32]] * 2
    rng = np.random.default_rng(0)
    rng.random()  # whether the prompt is left empty
    for latents, name in zip(item["pictures"], ("2.png", "3.png"), strict=True):
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        assert torch.equal(latents, items.cache.sample(items.cache.moments(data / "pairs" / name), generator))
    assert "4 pairs of" in items.summary()


def test_live_pictures_are_cut_and_mirrored_alike(data, vae, tmp_path, capsys):
    rows = fitting(open_rows(data / "pairs/pairs.jsonl"), "dpo", "drop")
    options = {"random_crop": True, "random_flip": True}
    items = preferences(rows, vae, tmp_path, **options)
    assert items.live and "every one is encoded at every step" in capsys.readouterr().out
    crops, mirrored = set(), set()
    for seed in range(8):
        item = items.item(0, np.random.default_rng(seed))
        (top, left), (other_top, other_left) = item["size"][:, 2:4].tolist()
        assert (top, left) == (other_top, other_left)
        for n, name in enumerate(("0.png", "1.png")):
            pixels = to_tensor(square(load_image(data / "pairs" / name), 32, (0, top / 8)))
            flipped = torch.equal(item["pictures"][n], mirror(pixels))
            assert flipped or torch.equal(item["pictures"][n], pixels)
            mirrored.add((seed, flipped))
        crops.add(top)
    assert len(crops) > 2 and len(mirrored) == 8 and len({flipped for _, flipped in mirrored}) == 2


def test_a_share_of_preferred_pictures_is_drawn(data, vae, tmp_path):
    """Of 200 draws at 0.8, 160 ± 23 (four standard deviations); every row of a class comes up."""
    rows = fitting(open_rows(data), "kto", "drop")
    items = preferences(rows, vae, tmp_path, positive_ratio=0.8)
    drawn = [items.item(i, np.random.default_rng([0, i])) for i in range(200)]
    assert 137 < sum(labels_of(drawn)) < 183 and len({item["prompt"] for item in drawn}) == 7
    plain = preferences(rows, vae, tmp_path)
    assert labels_of(plain.item(i, np.random.default_rng(0)) for i in range(7)) == rows.preferred.tolist()


def test_prompts(data, vae, tmp_path):
    """A fifth is left empty; the prefixes go by the label; a mismatched prompt is always another row's."""
    rows = fitting(open_rows(data), "csft", "drop")
    options = {"empty_prompts": 0.2, "prefixes": ("Good. ", "Bad. "), "mismatched": True}
    items = preferences(rows, vae, tmp_path, **options)
    drawn = [items.item(0, np.random.default_rng(i)) for i in range(200)]
    empty = sum(item["prompt"] == "" for item in drawn)
    assert 17 < empty < 63 and {item["prompt"] for item in drawn} == {"", "Good. a photo of cat 0"}
    assert items.item(1, np.random.default_rng(1))["prompt"] in ("", "Bad. a photo of cat 1")
    others = {item["other_prompt"] for item in drawn}
    assert others == {f"a photo of cat {i}" for i in range(1, 7)}


def test_the_fingerprint_sees_prompts_labels_and_pictures(vae, tmp_path):
    files, marks = write_pictures(tmp_path, 2), []

    def mark(*records, **options):
        write_records(tmp_path / "labels.jsonl", list(records))
        marks.append(preferences(open_rows(tmp_path / "labels.jsonl"), vae, tmp_path, **options).fingerprint())

    good, bad = Labelled(files[0], "p", True, "p"), Labelled(files[1], "p", False, "p")
    mark(good, bad)
    mark(good, bad)
    assert marks[0] == marks.pop()
    mark(good, Labelled(files[1], "p", True, "p"))
    mark(good, Labelled(files[1], "q", False, "q"))
    mark(good, bad, cached=False)
    files[1].write_bytes(files[0].read_bytes())
    mark(good, bad)
    assert len(set(marks)) == 5


def test_missing_pictures_are_named(vae, tmp_path):
    (tmp_path / "labels.jsonl").write_text(json.dumps({"file_name": "a.png", "prompt": "p", "label": 1}) + "\n")
    with pytest.raises(UserError, match=r"a\.png: there is no such picture"):
        preferences(open_rows(tmp_path / "labels.jsonl"), vae, tmp_path)
