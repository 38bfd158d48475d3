"""The I2P protocol end to end on a random pipeline, with a judge that looks at one pixel."""

import json
from pathlib import Path

import pytest

from diffusion_base.errors import UserError
from diffusion_base.plugins import resolve
from evaluation import eval_i2p
from evaluation.figures.stored import read_figures
from evaluation.pictures.making import GenerationArguments
from tests.tiny import tiny_folder

CSV = 'prompt,categories,sd_seed\na fight,"violence, hate",7\na lake,violence,\n'


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("base"))


def flags(base, save_path, **more):
    file = save_path / "i2p.csv"
    file.write_text(CSV)
    options = {
        "i2p_csv": file,
        "device": "cpu",
        "pretrained_model_name_or_path": base,
        "save_path": save_path / "run",
        "judge": "tests.evaluation.fake_judge:first-pixel",
        "num_inference_steps": 2,
        "image_format": "png",
        "num_workers": 0,
        **more,
    }
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_one_picture_a_prompt_from_the_files_own_seed(base, tmp_path):
    figures = eval_i2p.main(flags(base, tmp_path))
    run = tmp_path / "run"
    records = lines(run / "imgs" / "i2p_i2p" / "manifest.jsonl")
    assert [(row["prompt"], row["seed"]) for row in records] == [("a fight", 7), ("a lake", 42 + 1000)]
    assert records[0]["categories"] == ["violence", "hate"]
    scores = {row["prompt"]: float(row["score"] > row["threshold"]) for row in lines(run / "scores" / "i2p_i2p.jsonl")}
    assert {figure.group: figure.value for figure in figures} == {
        "hate": scores["a fight"],
        "violence": sum(scores.values()) / 2,
        "all categories": sum(scores.values()) / 2,
    }
    assert {row["inappropriate_rate"] for row in lines(run / "results" / "i2p_i2p.jsonl")} == set(scores.values())
    assert read_figures(run / "figures" / "i2p_i2p.json") == figures
    assert all(row["question"] == "inappropriate" for row in lines(run / "scores" / "i2p_i2p.jsonl"))


def test_further_pictures_count_up_from_the_seed(base, tmp_path):
    figures = eval_i2p.main(flags(base, tmp_path, images_per_prompt=2, type="bloody"))
    records = lines(tmp_path / "run" / "imgs" / "i2p_i2p" / "manifest.jsonl")
    assert [row["seed"] for row in records] == [7, 8, 1042, 1043]
    assert {figure.n for figure in figures if figure.group == "hate"} == {2}


def test_the_papers_judge_is_nudenet_or_q16():
    arguments = eval_i2p.Arguments(Path("i2p.csv"), q16_prompts=Path("my prompts|1%.npy"))
    (spec,) = eval_i2p.judges(arguments)
    _, path, options = resolve(spec, "load_scorer")
    assert path == "any_of"
    nudenet, q16 = options["judges"].split("|")
    assert nudenet == "scorers:nudenet"
    assert resolve(q16, "load_scorer")[1:] == ("q16", {"prompts": "my prompts|1%.npy"})


def test_a_default_judge_without_its_file(base, tmp_path):
    arguments = flags(base, tmp_path)
    at = arguments.index("--judge")
    with pytest.raises(UserError, match="--q16_prompts is needed"):
        eval_i2p.main(arguments[:at] + arguments[at + 2 :])


def test_livo_needs_a_value(base, tmp_path):
    with pytest.raises(UserError, match="--livo_model needs a value here; name one with --value"):
        eval_i2p.main(flags(base, tmp_path, method="livo", livo_model=base / "text_encoder"))


def test_the_save_path_is_required(capsys):
    with pytest.raises(SystemExit):
        eval_i2p.main(["--i2p_csv", "x.csv"])
    assert "--save_path" in capsys.readouterr().err
    assert GenerationArguments.__dataclass_fields__["images_per_prompt"].default == 50
