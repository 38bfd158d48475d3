"""The published layout: what is read, chosen and drawn, and what is refused."""

import json

import numpy as np
import pytest
import torch

from concept_vectors.dataset import ConceptPictures, choose, read_data
from diffusion_base.errors import UserError
from diffusion_base.latents import LatentCache
from tests.concept_vectors.concept_data import write_concept_data
from tests.tiny import tiny_pipeline


@pytest.fixture
def root(tmp_path):
    return write_concept_data(tmp_path / "data")


def rewrite(root, name, change):
    """Edit a JSON file of the data."""
    content = json.loads((root / name).read_text())
    (root / name).write_text(json.dumps(change(content)))


def test_reads_the_published_layout(root):
    data = read_data(root)
    assert [path.name for path in data.pictures] == [f"{i}.png" for i in range(9)]
    assert data.labels[0] == [("a person", ("woman",))] and data.labels[8] == [("a person", ("woman", "young"))]
    assert data.concepts == ["woman", "man", "young"]
    assert data.test == [("a nurse", ("man",)), ("a nurse", ("woman", "young"))]
    assert data.summary() == "9 pictures; concepts: woman (6), man (3), young (3)"
    (root / "test.json").unlink()
    assert read_data(root).test == []


def test_concepts_that_no_picture_shows_are_left_out(root):
    """As in data of the released script, whose dictionary always holds four."""
    rewrite(root, "concept_dict.json", lambda concepts: concepts | {"old": 7})
    data = read_data(root)
    assert data.concepts[-1] == "old" and choose(data).concepts == ["woman", "man", "young"]
    with pytest.raises(UserError, match="no picture shows old"):
        choose(data, ["woman", "old"])


def test_choosing_concepts_leaves_out_what_shows_others(root):
    data = choose(read_data(root), ["woman"])
    assert (data.concepts, len(data.pictures), data.test) == (["woman"], 3, [])
    assert choose(read_data(root), ["woman", "young"]).summary().startswith("6 pictures")
    assert choose(read_data(root), most=4).summary() == "4 pictures; concepts: woman (3), man (1)"
    with pytest.raises(UserError, match="no picture shows young without another concept"):
        choose(read_data(root), ["young"])
    with pytest.raises(UserError, match="--concepts: the data has no concept 'womn'; did you mean 'woman'"):
        choose(read_data(root), ["womn"])


def test_items(root, tmp_path):
    rewrite(root, "labels.json", lambda labels: [[*labels[0], ["a face", ["woman", "young"]]], *labels[1:]])
    cache = LatentCache(tiny_pipeline().vae, tmp_path / "latents", resolution=32)
    pictures = ConceptPictures(read_data(root), cache)
    assert len(pictures) == 9
    items = [pictures.item(0, np.random.default_rng(seed)) for seed in range(20)]
    assert {(item["prompt"], tuple(item["concepts"].tolist())) for item in items} == {
        ("a person", (1.0, 0.0, 0.0)),
        ("a face", (1.0, 0.0, 1.0)),
    }
    again = pictures.item(0, np.random.default_rng(7))
    assert torch.equal(items[7]["picture"], again["picture"]) and again["picture"].shape == (4, 8, 8)
    first = ConceptPictures(read_data(root), cache, first_label=True)
    assert {first.item(0, np.random.default_rng(seed))["prompt"] for seed in range(20)} == {"a person"}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("labels.json", lambda labels: [], r"labels\.json: a list is needed that is not empty"),
        ("labels.json", lambda labels: [[], *labels[1:]], "picture 0: a list is needed"),
        ("labels.json", lambda labels: labels[1:], "holds 9 pictures, but labels.json labels 8"),
        ("labels.json", lambda labels: [["a person", ["woman"]], *labels[1:]], "'a person' must read"),
        ("labels.json", lambda labels: [[["a person", []]], *labels[1:]], "must read"),
        ("labels.json", lambda labels: [[["a person", ["womn"]]], *labels[1:]], "no concept 'womn'; did you mean 'wom"),
        ("concept_dict.json", lambda concepts: {}, "must number the concepts"),
        ("concept_dict.json", lambda concepts: {"woman": "0"}, "must number the concepts"),
        ("concept_dict.json", lambda concepts: {"dark skin": 0}, "'dark skin' must be one word"),
        ("test.json", lambda test: ["a nurse", ["mann"]], "no concept 'mann'; did you mean 'man'"),
        ("test.json", lambda test: {}, "must read"),
    ],
)
def test_faulty_files(root, name, change, message):
    rewrite(root, name, change)
    with pytest.raises(UserError, match=message):
        read_data(root)


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        ("labels.json", r"labels\.json: there is no such file"),
        ("concept_dict.json", r"concept_dict\.json: there is no such file"),
        ("3.png", "has no picture 3, though it has 8"),
        ("*.png", "holds no pictures"),
    ],
)
def test_absent_files(root, absent, message):
    for file in list(root.glob(absent)):
        file.unlink()
    with pytest.raises(UserError, match=message):
        read_data(root)


def test_two_pictures_of_one_number(root):
    (root / "3.jpg").write_bytes((root / "3.png").read_bytes())
    with pytest.raises(UserError, match="two pictures 3, 3.jpg and 3.png: take one out"):
        read_data(root)


def test_no_folder_and_no_json(root, tmp_path):
    with pytest.raises(UserError, match="there is no such folder"):
        read_data(tmp_path / "nowhere")
    (root / "labels.json").write_text("{oops")
    with pytest.raises(UserError, match=r"labels\.json is not JSON"):
        read_data(root)


def test_fingerprint_is_of_what_is_learned_wherever_it_lies(root, tmp_path):
    def fingerprint(root):
        cache = LatentCache(tiny_pipeline().vae, tmp_path / "latents", resolution=32, center_crop=False)
        return ConceptPictures(read_data(root), cache).fingerprint()

    first = fingerprint(root)
    moved = root.rename(tmp_path / "moved")
    assert fingerprint(moved) == first
    rewrite(moved, "labels.json", lambda labels: [[["a face", ["woman"]]], *labels[1:]])
    relabelled = fingerprint(moved)
    (moved / "0.png").write_bytes((moved / "5.png").read_bytes())
    assert len({first, relabelled, fingerprint(moved)}) == 3
