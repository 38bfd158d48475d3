"""Pictures of another model, judged as they are: in any layout, by every protocol, and compared."""

import json

import pytest
from PIL import Image

from diffusion_base.errors import UserError
from evaluation import eval_bias, eval_i2p, eval_toxicity, eval_winobias
from evaluation.compare import compare
from evaluation.pictures.making import GenerationArguments
from evaluation.protocols.winobias import TEMPLATES, prompts_of

JUDGE = "tests.evaluation.fake_judge:first-pixel"
CAREER = {"a nurse": (200, 200, 200, 10), "a pilot": (10, 10, 10, 10)}  # red: female above 127; green: harm


@pytest.fixture(autouse=True)
def nothing_is_made(monkeypatch):
    def load(*_):
        raise AssertionError("no base is needed")

    monkeypatch.setattr(GenerationArguments, "maker", load)


def draw(folder, reds=CAREER, *, manifest=False, blue=0):
    """LiVO's layout, or a manifest with seeds."""
    folder.mkdir(parents=True)
    lines = []
    for p, (prompt, own) in enumerate(reds.items()):
        for i, red in enumerate(own):
            Image.new("RGB", (4, 4), (red, red, blue)).save(folder / f"{p}_{i}.png")
            lines.append({"file": f"{p}_{i}.png", "prompt": prompt, "seed": 7 + i})
    rows = lines if manifest else [{"prompt": prompt} for prompt in reds]
    file = folder / ("manifest.jsonl" if manifest else "prompt.jsonl")
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def flags(save_path, *pictures, **more):
    options = {"device": "cpu", "save_path": save_path, "judge": JUDGE, "num_workers": 0, **more}
    return [
        "--pictures",
        *map(str, pictures),
        *(part for name, of in options.items() for part in (f"--{name}", str(of))),
    ]


def values(figures, metric):
    return {figure.group: figure.value for figure in figures if figure.metric == metric}


@pytest.mark.parametrize("manifest", [False, True])
def test_bias_of_pictures_that_are_there(tmp_path, manifest):
    """Three women of four nurses, no woman among four pilots: D1 is (0.5 + 1) / 2."""
    folder = draw(tmp_path / "career", manifest=manifest)
    figures = eval_bias.main([*flags(tmp_path / "run", folder, method="dall-e"), "--type", "gender"])
    assert values(figures, "D1") == {"gender, career": pytest.approx(0.75)}
    assert {figure.method for figure in figures} == {"dall-e"}
    taken = tmp_path / "run" / "imgs" / "bias_gender_career"
    assert (taken / "0_3.png").read_bytes() == (folder / "0_3.png").read_bytes()
    records = [json.loads(line) for line in (taken / "manifest.jsonl").read_text().splitlines()]
    assert [record.get("seed") for record in records[:2]] == ([7, 8] if manifest else [None, None])
    assert json.loads((taken / "run.json").read_text())["identity"]["taken_from"] == str(folder.resolve())
    assert eval_bias.main([*flags(tmp_path / "run", folder, method="dall-e"), "--type", "gender"]) == figures


def test_toxicity_and_several_sets(tmp_path):
    folders = draw(tmp_path / "career"), draw(tmp_path / "things", {"a cup": [0] * 4})
    figures = eval_toxicity.main([*flags(tmp_path / "run", *folders), "--type", "bloody"])
    assert values(figures, "R") == {"bloody, career": pytest.approx(3 / 8), "bloody, things": 0}
    assert {figure.method for figure in figures} == {"pictures"}


def test_winobias_by_the_prompts(tmp_path):
    occupations = tmp_path / "occupations.txt"
    occupations.write_text("pilot\nnurse\n")
    prompts = [row["prompt"] for row in prompts_of(["pilot", "nurse"], TEMPLATES["successful"])]
    folder = draw(tmp_path / "mine", {prompt: [200 * prompt.endswith("nurse")] for prompt in prompts})
    figures = eval_winobias.main([*flags(tmp_path / "run", folder, occupations=occupations), "--type", "gender"])
    assert values(figures, "deviation ratio") == {"gender, successful": 1}
    results = (tmp_path / "run" / "results" / "winobias_successful_gender.jsonl").read_text().splitlines()
    assert [json.loads(row)["result"] for row in results] == [{"male": 5, "female": 0}, {"male": 0, "female": 5}]
    with pytest.raises(UserError, match=r"another folder is of the same prompts \(successful\) already"):
        eval_winobias.main(flags(tmp_path / "two", folder, draw(tmp_path / "b", dict.fromkeys(prompts, [0]))))


def test_i2p_by_the_prompts(tmp_path):
    table = tmp_path / "i2p.csv"
    table.write_text("prompt,categories\na fight,violence\na lake,hate\na fight,violence\n")
    folder = draw(tmp_path / "mine", {"a lake": [0], "a fight": [255]})
    figures = eval_i2p.main(flags(tmp_path / "run", folder, i2p_csv=table, type="bloody"))
    assert values(figures, "R") == {"hate": 0, "violence": 1, "all categories": 0.5}
    other = draw(tmp_path / "other", {"a lake": [0], "a sea": [0]})
    with pytest.raises(UserError, match="other are not the protocol's: only the protocol has 'a fight'"):
        eval_i2p.main(flags(tmp_path / "run", other, i2p_csv=table, type="bloody"))


def test_two_models_are_compared_with_their_pictures(tmp_path):
    career = tmp_path / "career.jsonl"
    career.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in reversed(CAREER)))
    for blue, method in enumerate(("one", "two")):
        arguments = flags(
            tmp_path / "runs" / method, draw(tmp_path / method, blue=blue), eval_data=career, method=method
        )
        figures = eval_bias.main([*arguments, "--type", "gender"])
        assert values(figures, "D1") == {"gender, career": pytest.approx(0.75)}
    found = compare([tmp_path / "runs" / "one", tmp_path / "runs" / "two"], tmp_path / "out")
    assert {row.change.verdict for row in found.rows if row.method == "two"} == {""}
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count("<img") == 2 * 8
    assert "<h2>Same prompt</h2>" in html and "same noise" not in html  # whose seeds nobody told
    assert str(tmp_path / "two") in found.provenance["Taken from"]


def test_sets_that_cannot_be_taken(tmp_path):
    career, run = draw(tmp_path / "career"), tmp_path / "run"

    def refused(message, *pictures, **more):
        with pytest.raises(UserError, match=message):
            eval_bias.main([*flags(run, *pictures, **more), "--type", "gender"])

    refused("--intervention and --livo_model out", career, intervention="value_encoder:x")
    things = tmp_path / "things.jsonl"
    things.write_text('{"prompt": "a cup"}\n{"prompt": "a pilot"}\n')
    refused("the prompts of .*career are not the protocol's: only the protocol has 'a cup'", career, eval_data=things)
    refused("two folders have the same name", career, career)
    refused("nowhere: there is no such folder", tmp_path / "nowhere")
    refused("holds no pictures", tmp_path)
    uneven = draw(tmp_path / "uneven", {"a nurse": [1, 2], "a pilot": [1]}, manifest=True)
    refused("holds 1 pictures of 'a pilot' and 2 of 'a nurse'; every prompt needs as many", uneven)
    (uneven / "manifest.jsonl").unlink()
    refused("uneven does not say its prompts: add a prompt.jsonl", uneven)
    assert not (run / "imgs").exists()
    with pytest.raises(UserError, match="--eval_data is needed, files of prompts; or --pictures"):
        eval_bias.main(["--type", "gender", "--save_path", str(run), "--judge", JUDGE])
    eval_bias.main([*flags(run, career), "--type", "gender"])
    (career / "0_0.png").write_bytes((career / "1_0.png").read_bytes() + b" ")
    refused("bias_gender_career holds other pictures; choose another --save_path", career)
