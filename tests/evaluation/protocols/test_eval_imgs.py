"""The command on the miniature's pictures and CLIP, and Inception with random weights."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from benchmarks.scoring import random_inception
from diffusion_base.data import load_image
from diffusion_base.errors import UserError
from evaluation import eval_imgs
from evaluation.figures.quality import describe, diversities, similarities
from evaluation.figures.record import table
from evaluation.figures.stored import read_figures
from evaluation.pictures.folders import read_pictures
from evaluation.protocols.image_quality import default_clip
from miniature.drawing import render
from miniature.models import asset_folder
from miniature.world import draw_person
from scorers.clip import CLIPScorer
from scorers.inception import InceptionFeatures

CLIP = asset_folder() / "clip"
PROMPTS = ("a nurse", "a pilot", "a farmer")


def draw_set(folder, seed, count=4, prompts=PROMPTS):
    """Rendered pictures in LiVO's layout, as PNG."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for p, prompt in enumerate(prompts):
        for i in range(count):
            render(draw_person(rng, prompt.removeprefix("a "))).save(folder / f"{p}_{i}.png")
    (folder / "prompt.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    return draw_set(root / "made", 0), draw_set(root / "real", 1)


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    file = tmp_path_factory.mktemp("inception") / "inception.safetensors"
    save_file({name: w for name, w in random_inception().state_dict().items() if "num_batches" not in name}, file)
    return file


def flags(sets, save_path, metrics, *more):
    made, reference = sets
    paths = ["--eval_image_paths", str(made)] + (["--ref_image_paths", str(reference)] if reference else [])
    common = ["--clip_model", str(CLIP), "--save_path", str(save_path), "--num_workers", "0", "--device", "cpu"]
    return ["--metrics", *metrics.split(), *paths, *common, *map(str, more)]


def values(figures):
    return {figure.metric: figure.value for figure in figures}


def test_every_metric_by_clip(sets, tmp_path, capsys):
    figures = eval_imgs.main(flags(sets, tmp_path, "isc fid kid clip cmmd diversity similarity", "--method", "livo"))
    assert list(values(figures)) == ["clip-fid", "clip-kid", "clip score", "cmmd", "diversity", "similarity"]
    for figure in figures:
        assert figure.low <= figure.value <= figure.high, figure
        assert (figure.method, figure.group, figure.judge) == ("livo", "made", "clip")
        assert (figure.n, len(figure.per_unit), len(figure.version)) == (12, 3, 16)
    assert figures[0].reference == str(sets[1]) and figures[2].reference is None
    out = capsys.readouterr().out
    assert "There is no IS without --inception_path" in out and table(figures) in out
    assert "warning: clip-fid of 12 pictures is biased upwards: take 2048 or more" in out
    assert read_figures(tmp_path / "figures" / "quality_made.json") == figures


def test_clip_figures_equal_their_definitions(sets, tmp_path):
    """By loops over pictures and pairs, from the judge's own features."""
    scorer = CLIPScorer.from_pretrained(str(CLIP))
    made, real = (read_pictures(folder) for folder in sets)
    described = []
    for pictures in (made, real):
        images = [load_image(file) for file in pictures.files]
        rows = scorer.image_features(images)
        described.append(describe(pictures, dict(zip(pictures.keys, rows, strict=True)), None))
    x, y = (side.clip.reshape(3, 4, -1).numpy() for side in described)
    texts = scorer.text_features(PROMPTS).double().numpy()
    figures = values(eval_imgs.main(flags(sets, tmp_path, "clip diversity similarity")))
    expected = np.mean([[max(100 * f @ text, 0) for f in group] for group, text in zip(x, texts, strict=True)])
    assert figures["clip score"] == pytest.approx(expected, rel=1e-5)
    pairs = [1 - group[i] @ group[j] for group in x for i in range(4) for j in range(i)]
    assert figures["diversity"] == pytest.approx(np.mean(pairs), rel=1e-4)
    assert figures["similarity"] == pytest.approx(np.mean((x * y).sum(-1)), rel=1e-4)
    assert list(diversities(described[0]).values()) == pytest.approx(
        [np.mean(pairs[k : k + 6]) for k in (0, 6, 12)], abs=1e-6
    )
    assert list(similarities(described[0], described[0]).values()) == pytest.approx([1, 1, 1])


def test_with_inception_fid_is_called_fid(sets, inception, tmp_path, monkeypatch):
    """And a second metric reads the features of the first: no picture goes through Inception again."""
    options = ("--inception_path", inception)
    first = eval_imgs.main(flags(sets, tmp_path, "isc fid", *options))
    assert list(values(first)) == ["is", "fid"]
    assert {figure.judge for figure in first} == {"inception-v3"} and values(first)["is"] > 1.001
    assert values(first)["fid"] > 0.01
    assert not list((tmp_path / "features").glob("clip*"))  # CLIP was not needed

    def never(self, pixels):
        raise AssertionError("the features are there")

    monkeypatch.setattr(InceptionFeatures, "features", never)
    again = eval_imgs.main(flags(sets, tmp_path, "fid kid isc", *options))
    assert list(values(again)) == ["fid", "kid", "is"]
    assert values(again)["fid"] == values(first)["fid"] and values(again)["is"] == values(first)["is"]


def test_neither_batch_size_nor_order_moves_a_figure(sets, tmp_path):
    made, real = sets
    shuffled = tmp_path / "made"
    shuffled.mkdir()
    files = sorted(made.glob("*.png"))
    order = np.random.default_rng(0).permutation(len(files))
    lines = []
    for i in order:
        (shuffled / files[i].name).write_bytes(files[i].read_bytes())
        prompt = PROMPTS[int(files[i].name[0])]
        lines.append(json.dumps({"file": files[i].name, "prompt": prompt}) + "\n")
    (shuffled / "manifest.jsonl").write_text("".join(lines))
    metrics = "fid kid clip cmmd diversity"
    one = values(eval_imgs.main(flags(sets, tmp_path / "one", metrics, "--batch_size", 5)))
    two = values(eval_imgs.main(flags((shuffled, real), tmp_path / "two", metrics)))
    assert two == pytest.approx(one, rel=1e-4, abs=1e-6)


def test_several_folders_and_one_reference(sets, tmp_path):
    other = draw_set(tmp_path / "base" / "made", 2)
    arguments = flags((sets[0], sets[1]), tmp_path, "fid clip", "--method", "livo", "base")
    arguments.insert(arguments.index("--eval_image_paths") + 2, str(other))
    figures = eval_imgs.main(arguments)
    assert [(figure.method, figure.metric) for figure in figures] == [
        ("livo", "clip-fid"),
        ("livo", "clip score"),
        ("base", "clip-fid"),
        ("base", "clip score"),
    ]
    assert read_figures(tmp_path / "figures" / "quality_made.json") == figures
    arguments[arguments.index("--method") + 2] = "livo"
    with pytest.raises(UserError, match="need a --method each"):
        eval_imgs.main(arguments)


def test_the_clip_beside_the_base_is_the_default(sets, tmp_path):
    made = read_pictures(sets[0])
    assert default_clip(made) == "openai/clip-vit-large-patch14"
    folder = draw_set(tmp_path / "made", 3)
    (folder / "run.json").write_text(json.dumps({"base_name": str(asset_folder())}))
    assert default_clip(read_pictures(folder)) == str(CLIP)


@pytest.mark.parametrize(
    ("metrics", "more", "message"),
    [
        ("isc", (), "--metrics isc needs --inception_path"),
        ("fid", ("--inception_path", "/nowhere/inception.pth"), "/nowhere/inception.pth: there is no such file"),
        ("clip", ("--clip_model", "/nowhere/clip"), "no CLIP"),
        ("clip", ("--method", "a", "b"), "--method takes one for all or as many"),
        ("clip", ("--batch_size", 0), "--batch_size 0: it must be 1 or more"),
    ],
)
def test_bad_flags(sets, tmp_path, metrics, more, message):
    with pytest.raises(UserError, match=message):
        eval_imgs.main(flags(sets, tmp_path, metrics, *more))
    assert not (tmp_path / "figures").exists()


def test_bad_sets(sets, tmp_path):
    made, real = sets

    def refused(message, folders, metrics="fid"):
        with pytest.raises(UserError, match=message):
            eval_imgs.main(flags(folders, tmp_path / "out", metrics))
        assert not (tmp_path / "out").exists()

    refused("--metrics cmmd fid needs --ref_image_paths", (made, None), "fid cmmd")
    refused("holds the very pictures", (made, made))
    fewer = draw_set(tmp_path / "fewer", 4, prompts=PROMPTS[:2])
    refused("only .*made has picture 1 of 'a farmer'", (made, fewer), "similarity")
    single = draw_set(tmp_path / "single", 5, count=1)
    refused("diversity needs two pictures of a prompt", (single, real), "diversity")
    alone = draw_set(tmp_path / "alone", 6, count=1, prompts=PROMPTS[:1])
    refused("fid needs two pictures at least", (alone, real))
    (fewer / "prompt.jsonl").unlink()
    refused("does not say its prompts, which the CLIP score needs", (fewer, real), "clip")
    (fewer / "0_0.png").write_bytes((fewer / "0_0.png").read_bytes()[:99])
    with pytest.raises(UserError, match="0_0.png: not a picture, or a damaged one"):
        eval_imgs.main(flags((fewer, real), tmp_path / "out", "fid"))


def test_it_runs_as_a_script(sets, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["eval_imgs.py", *flags(sets, tmp_path, "clip")])
    script = Path(eval_imgs.__file__)
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(script), run_name="__main__")
    assert exit_.value.code == 0 and "clip score" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["eval_imgs.py", *flags((sets[0], sets[0]), tmp_path, "fid")])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(script), run_name="__main__")
    assert exit_.value.code == 2 and capsys.readouterr().err.count("\n") == 1
