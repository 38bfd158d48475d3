"""The first step alone, on a random pipeline: sets in LiVO's layout, by any interventions."""

import json

import pytest

from diffusion_base.errors import UserError
from evaluation import generate
from evaluation.pictures.folders import read_pictures
from tests.tiny import tiny_folder, tiny_pipeline

SHIFT = "tests.evaluation.fake_method:?shift=0.5"
ROWS = [{"prompt": "a nurse", "value": "gender equality", "id": 7}, {"prompt": "a cup", "value": "not applicable"}]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    tiny_pipeline(seed=7).text_encoder.save_pretrained(folder / "value_encoder")
    (folder / "training.json").write_text(json.dumps({"arguments": {"seed": 3}, "base_hash": None}))
    return folder


@pytest.fixture
def retrieved(tmp_path):
    file = tmp_path / "retrieved_career.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


def make(base, out, *more, images=2):
    budget = ["--images_per_prompt", str(images), "--num_inference_steps", "2", "--device", "cpu"]
    return generate.main(["--pretrained_model_name_or_path", str(base), "--output_dir", str(out), *budget, *more])


def pictures(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*_*.*")}


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_rows_of_a_file_with_a_value_each(base, encoder, retrieved, tmp_path, capsys):
    """Where a prompt's value is "not applicable", the pictures are the base's, bit for bit."""
    data = ("--eval_data", str(retrieved))
    (plain,) = make(base, tmp_path / "base", *data)
    (aligned,) = make(base, tmp_path / "livo", *data, "--method", "livo", "--livo_model", str(encoder))
    assert aligned == tmp_path / "livo" / "imgs" / "retrieved_career"
    assert lines(aligned / "prompt.jsonl") == ROWS  # the whole rows
    told = [json.loads((folder / "run.json").read_text()).get("training_seed") for folder in (plain, aligned)]
    assert told == [None, 3]
    changed = {name for name, picture in pictures(aligned).items() if picture != pictures(plain)[name]}
    assert changed == {"0_0.png", "0_1.png"}
    records = lines(aligned / "manifest.jsonl")
    assert [(row["value"], row.get("id")) for row in records[::2]] == [("gender equality", 7), ("not applicable", None)]
    assert "livo: 4 pictures in" in capsys.readouterr().out
    assert list(read_pictures(aligned).prompts) == ["a nurse"] * 2 + ["a cup"] * 2

    made = {file: file.stat().st_mtime_ns for file in aligned.glob("*.png")}
    make(base, tmp_path / "livo", *data, "--method", "livo", "--livo_model", str(encoder))
    assert {file: file.stat().st_mtime_ns for file in aligned.glob("*.png")} == made


def test_several_interventions_and_what_is_said_of_them(base, encoder, tmp_path):
    fair = f"value_encoder:{encoder}?value=gender equality"
    prompts = ("--prompts", "a nurse", "a pilot")
    (both,) = make(base, tmp_path / "both", *prompts, "--intervention", fair, "--intervention", SHIFT, images=1)
    (token,) = make(base, tmp_path / "token", *prompts, "--intervention", fair, images=1)
    (plain,) = make(base, tmp_path / "base", *prompts, images=1)
    assert both.name == "prompts" and sorted(pictures(both)) == ["0_0.png", "1_0.png"]
    for name in pictures(both):
        assert len({pictures(folder)[name] for folder in (both, token, plain)}) == 3
    about = json.loads((both / "run.json").read_text())
    assert about["method"] == "value_encoder + tests.evaluation.fake_method"
    assert about["arguments"]["intervention"] == [fair, SHIFT] and about["arguments"]["num_inference_steps"] == 2
    value, shift = about["identity"]["interventions"]
    assert value["value"] == "gender equality" and shift == {"method": "shift", "shift": 0.5}
    assert json.loads((plain / "run.json").read_text())["method"] == "base"


def test_negative_prompt_precision_and_format(base, tmp_path):
    (plain,) = make(base, tmp_path / "a", "--prompts", "a nurse", images=1)
    flags = ("--negative_prompt", "weird", "--mixed_precision", "bf16", "--image_format", "jpg")
    (other,) = make(base, tmp_path / "b", "--prompts", "a nurse", *flags, images=1)
    assert list(pictures(plain)) == ["0_0.png"] and list(pictures(other)) == ["0_0.jpg"]
    identity = json.loads((other / "run.json").read_text())["identity"]
    assert (identity["negative_prompt"], identity["mixed_precision"]) == ("weird", "bf16")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "there is nothing to make: name prompts with --prompts"),
        (("--prompts", "a", "--method", "livo"), "--method livo needs --livo_model"),
        (("--prompts", "a", "--intervention", "nowhere:x"), "there is no package 'nowhere'"),
        (("--eval_data", "/nowhere/career.jsonl"), "/nowhere/career.jsonl: there is no such file"),
        (("--prompts", "a", "--batch_size", "0"), "--batch_size 0: it must be 1 or more"),
    ],
)
def test_bad_flags(base, tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        make(base, tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()


def test_prompts_and_a_file_of_that_name(base, tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a"}\n')
    with pytest.raises(UserError, match="would share a folder"):
        make(base, tmp_path / "out", "--prompts", "b", "--eval_data", str(tmp_path / "prompts.jsonl"))
