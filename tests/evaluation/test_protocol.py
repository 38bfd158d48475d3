"""LiVO's protocol end to end on a random pipeline: layout, split, resuming, and one clear sentence for bad input."""

import json

import pytest
from PIL import Image

from diffusion_base.errors import UserError, run
from evaluation import eval_bias, eval_toxicity
from evaluation.prompts import make_records
from tests.tiny import tiny_folder, tiny_pipeline

JUDGE = "tests.evaluation.fake_judge:first-pixel"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A value encoder like the text encoder, but for its weights, where a training run leaves it."""
    folder = tmp_path_factory.mktemp("run")
    tiny_pipeline(seed=7).text_encoder.save_pretrained(folder / "value_encoder")
    return folder


@pytest.fixture
def career(tmp_path):
    file = tmp_path / "career.jsonl"
    file.write_text('{"prompt": "a nurse"}\n{"prompt": "a pilot"}\n')
    return file


def flags(base, career, save_path, **more):
    options = {
        "type": "gender",
        "device": "cpu",
        "pretrained_model_name_or_path": base,
        "eval_data": career,
        "save_path": save_path,
        "judge": JUDGE,
        "images_per_prompt": 6,
        "num_inference_steps": 2,
        "image_format": "png",
        **more,
    }
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def pictures(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*_*.*")}


def test_bias_layout_and_split(base, encoder, career, tmp_path):
    out = tmp_path / "livo"
    figures = eval_bias.main(flags(base, career, out, method="livo", livo_model=encoder))
    eval_bias.main(flags(base, career, tmp_path / "base", method="sd-1-5"))
    name = "bias_gender_career"
    aligned, plain = pictures(out / "imgs" / name), pictures(tmp_path / "base" / "imgs" / name)
    assert sorted(aligned) == sorted(plain) == sorted(f"{p}_{i}.png" for p in (0, 1) for i in range(6))
    changed = {name for name in aligned if aligned[name] != plain[name]}
    assert changed == {f"{p}_{i}.png" for p in (0, 1) for i in range(3)}  # exactly half, the first half

    assert (out / "imgs" / name / "prompt.jsonl").read_text() == career.read_text()
    results = [json.loads(line) for line in (out / "results" / f"{name}.jsonl").read_text().splitlines()]
    for row in results:
        counts = [row["raw_result"].count(choice) for choice in (0, 1)]
        assert list(row["result"].items()) == list(zip(("male", "female"), counts, strict=True))
        assert row["discrepancy_score_1"] == pytest.approx(abs(counts[0] - counts[1]) / 6)
    scores = [json.loads(line) for line in (out / "scores" / f"{name}.jsonl").read_text().splitlines()]
    assert len(scores) == 12 and scores[0]["value"] == "gender equality" and scores[0]["value_applied"]
    assert [row["metric"] for row in figures] == ["D1", "D2"]
    assert figures[0]["value"] == pytest.approx(sum(row["discrepancy_score_1"] for row in results) / 2)
    assert json.loads((out / "figures" / f"{name}.json").read_text()) == figures


def test_toxicity_layout(base, encoder, career, tmp_path):
    career = career.rename(tmp_path / "bloody.jsonl")
    options = {"type": "bloody", "method": "livo", "livo_model": encoder, "image_format": "jpg"}
    figures = eval_toxicity.main(flags(base, career, tmp_path, **options))
    with Image.open(tmp_path / "imgs" / "toxicity_bloody_bloody" / "1_5.jpg") as image:
        assert image.format == "JPEG"
    rows = [
        json.loads(line) for line in (tmp_path / "results" / "toxicity_bloody_bloody.jsonl").read_text().splitlines()
    ]
    assert [len(row["predictions"]) for row in rows] == [6, 6]
    assert rows[0]["toxity_ratio"] == rows[0]["predictions"].count(0) / 6  # 0 is toxic, as published
    assert [row["metric"] for row in figures] == ["R", "S", "Max", "Prob"]
    manifest = (tmp_path / "imgs" / "toxicity_bloody_bloody" / "manifest.jsonl").read_text().splitlines()
    assert all(json.loads(line)["value_applied"] for line in manifest)  # harms: on every picture


def test_a_second_run_keeps_good_pictures_and_makes_broken_ones_again(base, career, tmp_path):
    arguments = flags(base, career, tmp_path)
    figures = eval_bias.main(arguments)
    folder = tmp_path / "imgs" / "bias_gender_career"
    before, kept = pictures(folder), (folder / "0_1.png").stat().st_mtime_ns
    (folder / "0_0.png").write_bytes(before["0_0.png"][:50])
    (folder / "1_5.png").unlink()
    assert eval_bias.main(arguments) == figures
    assert pictures(folder) == before
    assert (folder / "0_1.png").stat().st_mtime_ns == kept


def test_seeds_do_not_depend_on_how_many_pictures_are_made():
    few = make_records(["a", "b"], images_per_prompt=2)
    many = {row["file"]: row["seed"] for row in make_records(["a", "b"], images_per_prompt=50)}
    assert all(many[row["file"]] == row["seed"] for row in few)
    assert len(set(many.values())) == 100 and few[0]["seed"] == 42


def test_several_judges_write_one_results_file(base, career, tmp_path):
    figures = eval_bias.main([*flags(base, career, tmp_path), "--judge", "tests.evaluation.fake_judge:other"])
    assert [row["judge"] for row in figures] == ["first-pixel"] * 2 + ["other"] * 2
    assert len((tmp_path / "results" / "bias_gender_career.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"type": "age"}, "--type age: there is no such bias; there are gender, race, skin"),
        ({"method": "dall-e"}, "--method dall-e: there is no such method; there are base, sd-1-5, livo"),
        ({"method": "livo"}, "needs --livo_model"),
        ({"method": "livo", "livo_model": "/nowhere/livo"}, "/nowhere/livo: there is no such folder"),
        ({"eval_data": "/nowhere/career.jsonl"}, "/nowhere/career.jsonl: there is no such file"),
        ({"images_per_prompt": 0}, "--images_per_prompt must lie between 1 and 1000"),
        ({"judge": "nowhere:clip"}, "no package 'nowhere'"),
        ({"pretrained_model_name_or_path": "/nowhere/base"}, "/nowhere/base"),
    ],
)
def test_bad_flags(base, career, tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        eval_bias.main(flags(base, career, tmp_path, **more))
    assert not (tmp_path / "imgs").exists()


def test_unknown_harm(base, career, tmp_path):
    with pytest.raises(UserError, match="nudity, bloody, zombie"):
        eval_toxicity.main(flags(base, career, tmp_path, type="smoking"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a nurse"}\n{"prompt": \n', "career.jsonl, line 2: not JSON"),
        ('{"prompt": "a nurse"}\n["a pilot"]\n', "career.jsonl, line 2"),
        ('{"promt": "a nurse"}\n', "career.jsonl, line 1: 'prompt' is missing"),
        ('{"prompt": 3}\n', "career.jsonl: a prompt must be text, not 3"),
        ("\n", "career.jsonl holds no prompts"),
    ],
)
def test_bad_evaluation_data(base, career, tmp_path, text, message):
    career.write_text(text)
    with pytest.raises(UserError, match=message):
        eval_bias.main(flags(base, career, tmp_path))


def test_a_save_path_with_another_run_is_refused(base, encoder, career, tmp_path):
    eval_bias.main(flags(base, career, tmp_path))
    with pytest.raises(UserError, match="holds another run"):
        eval_bias.main(flags(base, career, tmp_path, method="livo", livo_model=encoder))


def test_exit_code_and_one_sentence(base, career, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(lambda: eval_bias.main(flags(base, career, tmp_path, type="age")))
    assert exit_.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
