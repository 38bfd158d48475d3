"""Which point is recommended, by hand; a sweep of the miniature, against figures computed here."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion_base.data import load_image
from diffusion_base.errors import UserError
from diffusion_base.families import sd
from diffusion_base.generation import generate
from diffusion_base.pipeline import load_pipeline
from latent_directions.inference import LatentDirection
from latent_directions.recommend import Point, even_weights, front, recommended
from latent_directions.sweep import main
from latent_directions.weights import read_weights
from miniature.models import asset_folder
from miniature.oracle import Oracle
from scorers.clip import CLIPScorer
from tests.latent_directions.latents import random_directions

BASE = Point(5, 0.0, {"pilot": 0.0, "nurse": 1.0}, {"pilot": 1.0, "nurse": 1.0}, 1.0, 30.0, 0.1, 1.0)


def point(weight, share, accuracy=1.0, similarity=0.8, imbalance=0.5):
    shares, imbalances = dict.fromkeys(BASE.shares, share), dict.fromkeys(BASE.shares, imbalance)
    return replace(BASE, weight=weight, shares=shares, imbalances=imbalances, accuracy=accuracy, similarity=similarity)


def test_the_front_by_hand():
    """4 is nearer to the goal than the base and less like it; 6 is beaten by 4; 8 shows more and loses the subject;
    9 is beaten in all but its diversity."""
    four, six, eight = point(4, 0.9), point(6, 0.9, similarity=0.7), point(8, 1.0, accuracy=0.5, similarity=0.6)
    nine = replace(six, weight=9.0, diversity=0.2)
    assert front([BASE, four, six, eight, nine], "shown") == [BASE, four, eight, nine]
    assert front([four, replace(four)], "shown") == [four, four]  # equals don't beat each other


def test_the_recommendation_by_hand():
    """6, 7 and 8 keep the subject within .01 and are within .02 of the nearest; 6 moves the noise least, though 7 is
    more like the base; 9 loses the subject."""
    points = [BASE, point(4, 0.9, similarity=0.9), point(6, 0.985, similarity=0.8), point(8, 1.0, 0.99, 0.7)]
    points += [point(7, 0.99, similarity=0.85), point(9, 1.0, accuracy=0.9, similarity=0.75)]
    found, reason = recommended(points, "shown")
    assert found.weight == 6 and reason.startswith("weight 6 at step 5: shown in 0.98 of the pictures (base 0.50)")
    assert "Of 6 points 6 are beaten by no other; 5 of these keep the subject" in reason and "of the 3 that" in reason
    even = [BASE, point(2, 0.3, imbalance=0.4, similarity=0.9), point(3, 0.5, imbalance=0.1, similarity=0.8)]
    assert recommended(even, "even")[0].weight == 3
    assert "imbalance 0.10 (base 1.00)" in recommended(even, "even")[1]
    none = [BASE, point(5, 1.0, accuracy=0.5)]
    assert recommended(none, "shown")[0] == BASE  # it alone keeps the subject


def test_weights_a_subject_by_hand():
    """pilot crosses ½ between 2 (.25) and 4 (.75), at 3; nurse between −2 (.9) and −4 (.4), at −3.6; the judge never:
    her nearest share is .3, at 4. The least imbalance of all is at 2."""
    shares = {
        -4: (0.0, 0.4, 0.0), -2: (0.0, 0.9, 0.0), 0: (0.0, 1.0, 0.0), 2: (0.25, 1.0, 0.2), 4: (0.75, 1.0, 0.3),
    }  # fmt: skip
    imbalance = {-4: 0.6, -2: 0.9, 0: 1.0, 2: 0.5, 4: 0.7}
    points = [
        replace(
            BASE,
            weight=float(weight),
            shares=dict(zip(("pilot", "nurse", "judge"), three, strict=True)),
            imbalances={"all": imbalance[weight]},
        )
        for weight, three in shares.items()
    ]
    found = even_weights(points, 0.5)
    assert found.by_subject == pytest.approx({"pilot": 3.0, "nurse": -3.6, "judge": 4.0}) and found.default == 2


def test_a_sweep_of_the_miniature(tmp_path, capsys):
    """Every figure of one point, from pictures made here by `generate` and from the judges themselves."""
    base = asset_folder()
    pipeline = load_pipeline(base)
    directions = random_directions(pipeline, ("female",), sd.latent_shape(pipeline))
    directions.save(tmp_path / "run")
    out, subjects, choices = tmp_path / "sweep", ["pilot", "nurse"], ["male", "female"]
    flags = [
        *(f"--pretrained_model_name_or_path={base}", f"--directions={tmp_path / 'run'}", f"--output_dir={out}"),
        *("--direction=female", "--subjects", *subjects, "--choices", *choices, "--steps", "0", "--weights", "9"),
        *(f"--judge=miniature:{base / 'oracle'}", f"--clip={base / 'clip'}", "--images_per_subject=3", "--seed=5"),
        *("--num_inference_steps=2", "--guidance_scale=2.5"),
    ]
    main(flags)
    saved = json.loads((out / "sweep.json").read_text())
    assert saved["reason"] in capsys.readouterr().out
    assert [(of["step"], of["weight"]) for of in saved["points"]] == [(0, 0), (0, 9)]
    (found,) = [of for of in saved["points"] if of["weight"] == 9]

    prompts = [f"a photo of a {subject}" for subject in subjects for _ in range(3)]
    seeds = [5, 6, 7, 1005, 1006, 1007]
    options = {"num_inference_steps": 2, "guidance_scale": 2.5, "progress": False}
    moved = LatentDirection(directions, "female", pipeline=pipeline, step=0, weight=9)
    images, plain = (generate(pipeline, prompts, seeds, each, **options) for each in ([moved], []))
    oracle, clip = Oracle.from_folder(base / "oracle"), CLIPScorer.from_pretrained(str(base / "clip"))
    heads = oracle.classify(images, prompts, choices).argmax(-1).tolist()
    for s, subject in enumerate(subjects):
        women = heads[3 * s : 3 * s + 3].count(1)
        assert found["shares"][subject] == pytest.approx(women / 3)
        assert found["imbalances"][subject] == pytest.approx(abs(2 * women - 3) / 3)
    right = oracle.classify(images, prompts, subjects).argmax(-1) == torch.tensor([0, 0, 0, 1, 1, 1])
    assert found["accuracy"] == pytest.approx(float(right.double().mean()))
    features, of_base = clip.image_features(images).double(), clip.image_features(plain).double()
    texts = clip.text_features(prompts).double()
    assert found["clip_score"] == pytest.approx(float((100 * (features * texts).sum(-1)).clamp_min(0).mean()), abs=1e-4)
    assert found["similarity"] == pytest.approx(float((features * of_base).sum(-1).mean()), abs=1e-4)
    pairs = [1 - float(features[s + i] @ features[s + j]) for s in (0, 3) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found["diversity"] == pytest.approx(np.mean(pairs), abs=1e-4)

    assert read_weights(out / "weights.json").by_subject.keys() == {*subjects}
    assert load_image(out / "pictures.png").size == (2 * 64, 64) and load_image(out / "sweep.png").width > 500
    before = {file: file.stat().st_mtime_ns for file in (out / "imgs").rglob("*.png")}
    main(flags)
    assert len(before) == 12 and before == {file: file.stat().st_mtime_ns for file in before}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shown=other"], "--shown other: it must be one of --choices male female"),
        (["--images_per_subject=1"], "must be 2 or more"),
        (["--template=a photo"], "must hold {subject}"),
        (["--weights", "nan"], "--weights nan: it must be a finite number"),
    ],
)
def test_bad_flags(tmp_path, flags, message):
    needed = ["--directions=x", "--direction=female", "--subjects", "pilot", "--choices", "male", "female"]
    with pytest.raises(UserError, match=message):
        main([*needed, f"--output_dir={tmp_path}", *flags])
