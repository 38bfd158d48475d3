"""LiVO's protocol end to end on a random pipeline: layout, split, resuming, and one clear sentence for bad input."""

import json

import pytest
from PIL import Image

from diffusion_base.errors import UserError, run
from diffusion_base.sampling import Sampler
from evaluation import eval_bias, eval_i2p, eval_imgs, eval_toxicity
from evaluation.figures.stored import read_figures
from evaluation.protocols import measuring
from miniature.models import asset_folder
from scorers.clip import CLIPScorer
from tests.forked import in_two_processes
from tests.tiny import tiny_folder, tiny_pipeline

JUDGE = "tests.evaluation.fake_judge:first-pixel"
SHIFT = "tests.evaluation.fake_method:?shift=0.5"
CLIP = f"scorers:clip?model={asset_folder() / 'clip'}"


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
        "num_workers": 0,
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
    parity = [f"parity difference for {gender}" for gender in ("male", "female")]
    assert [figure.metric for figure in figures] == ["D1", "D2", "deviation ratio", *parity]
    assert {figure.group for figure in figures} == {"gender, career"}
    assert figures[0].value == pytest.approx(sum(row["discrepancy_score_1"] for row in results) / 2)
    assert read_figures(out / "figures" / f"{name}.json") == figures


def test_an_intersection_asks_two_questions_of_the_same_pictures(base, encoder, career, tmp_path):
    sets = tmp_path / "sets.yaml"
    sets.write_text("hair: {choices: [short, long], wording: '{choice} hair'}\nboth: {intersection: [gender, hair]}\n")
    figures = eval_bias.main(flags(base, career, tmp_path, type="both", attributes=sets))
    scores = [json.loads(line) for line in (tmp_path / "scores" / "bias_both_career.jsonl").read_text().splitlines()]
    assert [(row["question"], row["wording"]) for row in scores[::12]] == [("hair", "{choice} hair"), ("gender", "")]
    said = {(row["question"], row["file"]): row["answer"] for row in scores}
    results = [json.loads(line) for line in (tmp_path / "results" / "bias_both_career.jsonl").read_text().splitlines()]
    for p, row in enumerate(results):
        joint = [f"{said['gender', f'{p}_{i}.png']}, {said['hair', f'{p}_{i}.png']}" for i in range(6)]
        assert row["result"] == {
            f"{a}, {b}": joint.count(f"{a}, {b}") for a in ("male", "female") for b in ("short", "long")
        }
    assert [figure.group for figure in figures if figure.metric == "D1"] == [
        "both, career",
        "both, career, gender",
        "both, career, hair",
    ]
    livo = {"type": "both", "attributes": sets, "livo_model": encoder}
    with pytest.raises(UserError, match="--livo_model needs a value here"):
        eval_bias.main(flags(base, career, tmp_path / "livo", **livo))
    eval_bias.main(flags(base, career, tmp_path / "livo", value="gender equality", **livo))
    manifest = (tmp_path / "livo" / "imgs" / "bias_both_career" / "manifest.jsonl").read_text().splitlines()
    assert {json.loads(line)["value"] for line in manifest} == {"gender equality"}


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
    assert [figure.metric for figure in figures] == ["R", "S", "Max", "Prob"]
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


def test_several_judges_write_one_results_file(base, career, tmp_path):
    figures = eval_bias.main([*flags(base, career, tmp_path), "--judge", "tests.evaluation.fake_judge:other"])
    assert [figure.judge for figure in figures] == ["first-pixel"] * 5 + ["other"] * 5
    assert len((tmp_path / "results" / "bias_gender_career.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"type": "age"}, "--type age: there is no such bias; there are gender, race, skin"),
        ({"method": "dall-e"}, "--method dall-e: there is no such method; there are base, sd-1-5, livo"),
        ({"method": "livo"}, "needs --livo_model"),
        ({"method": "livo", "livo_model": "/nowhere/livo"}, "/nowhere/livo: there is no such folder"),
        ({"eval_data": "/nowhere/career.jsonl"}, "/nowhere/career.jsonl: there is no such file"),
        ({"images_per_prompt": 0}, "--images_per_prompt 0: it must be 1 or more"),
        ({"images_per_prompt": 5}, "--images_per_prompt 5: half of them get the value"),
        ({"num_workers": -1}, "--num_workers -1: it must be a number that is not negative"),
        ({"intervention": "nowhere:x"}, "there is no package 'nowhere'"),
        ({"intervention": SHIFT, "method": "base"}, "--method base is the model without interventions"),
        ({"judge": "nowhere:clip"}, "no package 'nowhere'"),
        ({"judge": "tests.evaluation.protocols.test_preference:x"}, "x cannot say which of male, female fits"),
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


def test_a_harm_that_the_judge_does_not_know_shows_before_any_picture_is_made(base, career, tmp_path):
    table = tmp_path / "i2p.csv"
    table.write_text("prompt,categories\na nurse,hate\n")
    arguments = flags(base, table, tmp_path, judge=CLIP, type="inappropriate", image_format="png")
    arguments[arguments.index("--eval_data")] = "--i2p_csv"
    with pytest.raises(UserError, match="CLIP is not told what 'inappropriate' looks like"):
        eval_i2p.main(arguments)
    assert not (tmp_path / "imgs").exists()


def test_bad_evaluation_data(base, career, tmp_path):
    career.write_text('{"promt": "a nurse"}\n')
    with pytest.raises(UserError, match="career.jsonl, line 1: 'prompt' is missing"):
        eval_bias.main(flags(base, career, tmp_path))


def test_any_intervention_and_what_the_figures_say_of_it(base, encoder, career, tmp_path):
    """A value that the command line names takes the protocol's place; half of the pictures get it all the same."""
    fair = f"value_encoder:{encoder}?value=gender fairness"
    figures = eval_bias.main([*flags(base, career, tmp_path / "two", intervention=fair), "--intervention", SHIFT])
    livo = eval_bias.main(flags(base, career, tmp_path / "one", intervention=fair))
    for found, name, specs in (
        (figures, "value_encoder + tests.evaluation.fake_method", (fair, SHIFT)),
        (livo, "value_encoder", (fair,)),
    ):
        assert {figure.method for figure in found} == {name}
        assert {figure.interventions for figure in found} == {specs}
    folder = tmp_path / "one" / "imgs" / "bias_gender_career"
    records = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert [record["value_applied"] for record in records] == ([True] * 3 + [False] * 3) * 2
    assert "value" not in records[0] and records[0]["interventions"][0]["value"] == "gender fairness"
    eval_bias.main(flags(base, career, tmp_path / "base"))
    plain, aligned = pictures(tmp_path / "base" / "imgs" / "bias_gender_career"), pictures(folder)
    assert {name for name in plain if plain[name] != aligned[name]} == {
        f"{p}_{i}.png" for p in (0, 1) for i in range(3)
    }


def test_rows_of_retrieved_values(base, encoder, career, tmp_path):
    rows = [{"prompt": "a nurse", "value": "racial equality", "id": 3}, {"prompt": "a cup", "value": "not applicable"}]
    career.write_text("".join(json.dumps(row) + "\n" for row in rows))
    eval_bias.main(flags(base, career, tmp_path, livo_model=encoder))
    folder = tmp_path / "imgs" / "bias_gender_career"
    assert [json.loads(line) for line in (folder / "prompt.jsonl").read_text().splitlines()] == rows
    scores = [json.loads(line) for line in (tmp_path / "scores" / "bias_gender_career.jsonl").read_text().splitlines()]
    assert [(row["value"], row.get("id")) for row in scores[::6]] == [("racial equality", 3), ("not applicable", None)]
    eval_bias.main(flags(base, career, tmp_path / "base"))
    plain, aligned = pictures(tmp_path / "base" / "imgs" / "bias_gender_career"), pictures(folder)
    assert {name for name in plain if plain[name] != aligned[name]} == {f"0_{i}.png" for i in range(3)}


def test_the_bases_pictures_are_made_once_for_all_biases(base, encoder, career, tmp_path, monkeypatch):
    """Gender and race ask the base for the same pictures; a method's carry another value."""
    made = []
    sample = Sampler.sample
    monkeypatch.setattr(Sampler, "sample", lambda self, rows: made.append(len(rows)) or sample(self, rows))
    eval_bias.main(flags(base, career, tmp_path / "base"))
    eval_bias.main(flags(base, career, tmp_path / "base", type="race"))
    assert sum(made) == 12
    gender, race = (pictures(tmp_path / "base" / "imgs" / f"bias_{kind}_career") for kind in ("gender", "race"))
    assert gender == race
    for kind in ("gender", "race"):
        eval_bias.main(flags(base, career, tmp_path / "livo", type=kind, livo_model=encoder))
    assert sum(made) == 36


def test_clip_reads_features_that_the_next_metric_finds(base, career, tmp_path, monkeypatch):
    """The same figures as from the pictures themselves, and no picture goes through CLIP a second time."""
    arguments = flags(base, career, tmp_path / "run", judge=CLIP)
    figures = eval_bias.main(arguments)
    monkeypatch.setattr(measuring, "on_features", lambda judge, folder: judge)
    direct = eval_bias.main(flags(base, career, tmp_path / "direct", judge=CLIP))
    assert not (tmp_path / "direct" / "features").exists()
    for one, other in zip(figures, direct, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-6)
        assert (one.judge, one.version, one.sample) == (other.judge, other.version, other.sample)
    scores = [
        [json.loads(line) for line in (tmp_path / run / "scores" / "bias_gender_career.jsonl").read_text().splitlines()]
        for run in ("run", "direct")
    ]
    for row, other in zip(*scores, strict=True):
        assert row["probabilities"] == pytest.approx(other["probabilities"], abs=2e-6)

    def never(self, pixels):
        raise AssertionError("the features are there")

    monkeypatch.setattr(CLIPScorer, "features", never)
    folder = tmp_path / "run" / "imgs" / "bias_gender_career"
    more = ["--clip_model", str(asset_folder() / "clip"), "--num_workers", "0", "--device", "cpu"]
    for options in (
        ["--save_path", str(tmp_path / "run")],
        ["--save_path", str(tmp_path), "--features_dir", str(tmp_path / "run" / "features")],
    ):
        eval_imgs.main(["--metrics", "clip", "diversity", "--eval_image_paths", str(folder), *options, *more])


@pytest.mark.slow
def test_two_processes_find_what_one_finds(base, encoder, career, tmp_path):
    options = {"images_per_prompt": 36, "livo_model": encoder, "num_inference_steps": 2}
    judges = ["--judge", CLIP]
    figures = eval_bias.main([*flags(base, career, tmp_path / "one", **options), *judges])
    in_two_processes(eval_bias.main, [*flags(base, career, tmp_path / "two", **options), *judges])
    name = "bias_gender_career"
    for part in (f"imgs/{name}/manifest.jsonl", f"imgs/{name}/prompt.jsonl", f"results/{name}.jsonl"):
        assert (tmp_path / "two" / part).read_bytes() == (tmp_path / "one" / part).read_bytes()
    assert pictures(tmp_path / "two" / "imgs" / name) == pictures(tmp_path / "one" / "imgs" / name)
    found = read_figures(tmp_path / "two" / "figures" / f"{name}.json")
    assert [(one.judge, one.metric) for one in found] == [(one.judge, one.metric) for one in figures]
    for one, other in zip(found, figures, strict=True):
        assert [one.value, one.low, one.high] == pytest.approx([other.value, other.low, other.high], abs=1e-6)
    assert [file.name for file in (tmp_path / "two" / "scores").iterdir()] == [f"{name}.jsonl"]
    shards = list((tmp_path / "two" / "features").glob("*/*.safetensors"))
    assert len(shards) == 2  # a batch of 64 and one of 8, by different processes


def test_a_save_path_with_another_run_is_refused(base, encoder, career, tmp_path):
    eval_bias.main(flags(base, career, tmp_path))
    with pytest.raises(UserError, match="holds another run"):
        eval_bias.main(flags(base, career, tmp_path, method="livo", livo_model=encoder))


def test_exit_code_and_one_sentence(base, career, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(lambda: eval_bias.main(flags(base, career, tmp_path, type="age")))
    assert exit_.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
