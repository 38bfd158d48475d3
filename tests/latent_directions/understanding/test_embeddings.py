"""Similarities by hand, their interval, and the command on a tiny base and a tiny CLIP."""

import csv
import json
from itertools import combinations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from diffusion_base.data import load_image
from diffusion_base.errors import UserError
from latent_directions.understanding import charts
from latent_directions.understanding.embeddings import main
from latent_directions.understanding.groups import read_words
from latent_directions.understanding.similarity import mean_of_pairs, relations, standardised
from scorers.clip import CLIPScorer
from tests.scorers.tiny_clip import tiny_clip_folder
from tests.tiny import tiny_folder

ACROSS, UP = torch.eye(2)


def test_the_mean_of_all_pairs():
    """Rows 1 and 0, columns ½ and ½: the variance is that of the rows, ½, over 2; Student's t of 1 degree is 12.706."""
    mean, low, high = mean_of_pairs(torch.stack([ACROSS, UP]), torch.stack([ACROSS, ACROSS]))
    assert (mean, low, high) == pytest.approx((0.5, 0.5 - 12.7062 / 2, 0.5 + 12.7062 / 2), abs=1e-4)
    assert mean_of_pairs(ACROSS[None], torch.stack([ACROSS, UP])) == (0.5, None, None)


def test_the_interval_holds_pictures_not_seen_of_both_sets():
    """95 of 100 times, within three standard errors of 400 repetitions; by the first set alone it would be 64."""
    rng = np.random.default_rng(0)
    centres = torch.tensor([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0]], dtype=torch.float64)
    covered = 0
    for _ in range(400):
        one, other = (
            centre + torch.tensor(rng.normal(scale=0.3, size=(n, 4)))
            for centre, n in zip(centres, (30, 8), strict=True)
        )
        _, low, high = mean_of_pairs(one, other)
        covered += low <= 0.8 <= high
    assert abs(covered / 400 - 0.95) < 0.034


def test_relations_that_are_the_other_way_round_are_misaligned():
    """Text .9, .5, .1 and pictures .1, .5, .9: ±1.22 standard deviations, so 2.45 apart at either end."""
    cosines = torch.tensor([0.9, 0.5, 0.1])
    texts = torch.stack([cosines, (1 - cosines**2).sqrt()], dim=-1)
    found = relations("abc", ACROSS, texts, ACROSS[None], list(texts.flip(0)[:, None]))
    assert [of.text for of in found] == pytest.approx([0.9, 0.5, 0.1])
    assert [of.image for of in found] == pytest.approx([0.1, 0.5, 0.9])
    assert [of.text_place for of in found] == pytest.approx([1.2247, 0, -1.2247], abs=1e-4)
    assert [of.misaligned for of in found] == [True, False, True]


def test_what_chance_may_explain_is_not_misaligned():
    """The same means, of pictures that scatter so much that the interval reaches the text's place."""
    cosines = torch.tensor([0.9, 0.5, 0.1])
    texts = torch.stack([cosines, (1 - cosines**2).sqrt()], dim=-1)
    scattered = [torch.stack([of + 3 * ACROSS, of - 3 * ACROSS]) for of in texts.flip(0)]
    found = relations("abc", ACROSS, texts, torch.stack([ACROSS, ACROSS]), scattered)
    assert [of.image for of in found] == pytest.approx([0.1, 0.5, 0.9], abs=1e-6)
    assert not any(of.misaligned for of in found)


def test_attributes_that_are_all_alike():
    assert standardised([0.3, 0.3, 0.3]).tolist() == [0, 0, 0]


def test_names_in_the_scatter_cover_nothing():
    """Twelve attributes almost at one place: every name that is there has a place of its own."""
    rng = np.random.default_rng(0)
    texts = normalize(torch.tensor([1.0, 0.0]) + 0.05 * torch.tensor(rng.normal(size=(12, 2))), dim=-1)
    names = [f"attribute number {i}" for i in range(12)]
    figure = charts.scatter(
        "a concept", relations(names, ACROSS.double(), texts, ACROSS[None].double(), [*texts[:, None]])
    )
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) > 3
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(axes.get_window_extent().padded(1).contains(*corner) for box in boxes for corner in (box.p0, box.p1))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")
    return tiny_folder(folder / "base"), tiny_clip_folder(folder / "clip")


def command(folders, tmp_path, concept="nurse", attributes="woman\nman\n\n  cat  \n", images=2):
    base, clip = folders
    file = tmp_path / "attributes.txt"
    file.write_text(attributes, encoding="utf-8")
    words = f"--pretrained_model_name_or_path {base} --clip {clip} --attributes {file} --output_dir {tmp_path / 'out'}"
    return [*words.split(), "--concept", concept, "--images", str(images), "--num_inference_steps", "1"]


def test_the_command(folders, tmp_path, capsys):
    out = main(command(folders, tmp_path))
    rows = json.loads((out / "similarities.json").read_text())
    assert {row["attribute"] for row in rows} == {"woman", "man", "cat"}
    assert [row["text"] for row in rows] == sorted((row["text"] for row in rows), reverse=True)
    with (out / "similarities.csv").open() as file:
        assert [row["attribute"] for row in csv.DictReader(file)] == [row["attribute"] for row in rows]
    assert all((out / name).stat().st_size > 5000 for name in ("scatter.png", "bars.png", "radar.png"))
    assert "woman" in capsys.readouterr().out

    # as whoever has nothing but the pictures finds it
    clip = CLIPScorer.from_pretrained(str(folders[1]))
    sets = {file.parent: json.loads(file.read_text())["identity"] for file in (out / "pictures").rglob("run.json")}
    pictures = {folder.name.rsplit("-", 1)[0]: sorted((folder / "images").iterdir()) for folder in sets}
    seen = {name: clip.image_features([load_image(file) for file in files]) for name, files in pictures.items()}
    cat = next(row for row in rows if row["attribute"] == "cat")
    pairs = [float(one @ other) for one in seen["a-photo-of-a-nurse"] for other in seen["a-photo-of-a-cat"]]
    assert cat["image"] == pytest.approx(np.mean(pairs), abs=1e-5)
    nurse, cat_text = clip.text_features(["a photo of a nurse", "a photo of a cat"])
    assert cat["text"] == pytest.approx(float(nurse @ cat_text), abs=1e-5)

    manifests = [file.read_text().splitlines() for file in (out / "pictures").rglob("manifest.jsonl")]
    seeds = [json.loads(line)["seed"] for lines in manifests for line in lines]
    assert len(seeds) == 8 == len(set(seeds))  # no two pictures start from the same noise

    made = {file: file.stat().st_mtime_ns for file in (out / "pictures").rglob("*.png")}
    main(command(folders, tmp_path, attributes="woman\ndog\n"))  # the others' pictures stay as they are
    assert all(file.stat().st_mtime_ns == time for file, time in made.items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: write two or more attributes"),
        ("\n \n", "is empty"),
        ("woman\n", "holds nothing but 'woman'"),
        ("woman\nman\nwoman\n", "line 3: 'woman' stands in line 1 already"),
    ],
)
def test_attribute_files_that_cannot_be_used(content, message, tmp_path):
    (tmp_path / "attributes.txt").write_text(content)
    with pytest.raises(UserError, match=message):
        read_words(tmp_path / "attributes.txt", "attributes")


def test_what_cannot_be_compared(folders, tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        read_words(tmp_path / "nothing.txt", "attributes")
    with pytest.raises(UserError, match="'woman' is an attribute, too"):
        main(command(folders, tmp_path, concept="woman"))
    with pytest.raises(UserError, match="must hold {choice}"):
        main([*command(folders, tmp_path), "--wording", "a photo"])
    assert not (tmp_path / "out").exists()
