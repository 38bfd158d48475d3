"""Runs on disk to one comparison: what is paired, what is marked, what is written, and one sentence for bad input."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffusion_base.errors import UserError
from evaluation.compare import compare, main
from evaluation.figures.from_scores import bias_figures
from evaluation.figures.intervals import paired_difference
from evaluation.protocols.measuring import write_figures
from evaluation.report.axes import across_axes
from evaluation.report.judging import judged_judges
from evaluation.report.paired import compare_runs, named
from evaluation.report.runs import read_runs
from tests.evaluation.fake_runs import answers, write_run

EVEN = (5, 4, 6, 5, 5, 4)  # women among ten pictures


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The base shows hardly any women and always the harm, LiVO half and never; its CLIP score is a little lower."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "base", "base")
    write_run(folder / "livo", "livo", EVEN, harm=0.2, clip=29.5)
    return folder


def find(rows, method, metric, judge="oracle"):
    (row,) = (row for row in rows if (row["method"], row["metric"], row["judge"]) == (method, metric, judge))
    return row


def test_differences_are_those_of_each_prompt(runs):
    """D1 is |10 − 2w| / 10: the base's 1, 1, .8, 1, .8, 1 and LiVO's 0, .2, .2, 0, 0, .2."""
    rows = compare_runs(read_runs([runs / "base", runs / "livo"]))
    found = find(rows, "livo", "D1")
    assert found["difference"] == pytest.approx((0.6 - 5.6) / 6)
    by_hand = paired_difference([0, 0.2, 0.2, 0, 0, 0.2], [1, 1, 0.8, 1, 0.8, 1], bounds=(0, 1))
    assert (found["difference_low"], found["difference_high"]) == pytest.approx(by_hand[1:3])
    assert found["probability"] == pytest.approx(1 - by_hand.probability)  # lower is better
    assert found["verdict"] == "better" and found["measured_on"] == "gender, career"
    assert find(rows, "base", "D1")["verdict"] is None


def test_each_metric_knows_which_way_is_better(runs):
    rows = compare_runs(read_runs([runs / "base", runs / "livo"]))
    assert find(rows, "livo", "R")["verdict"] == "better"
    assert find(rows, "livo", "clip score", "clip-features")["verdict"] == "worse"
    turned = compare_runs(read_runs([runs / "livo", runs / "base"]))
    assert find(turned, "base", "D1")["verdict"] == "worse"
    assert find(turned, "base", "D1")["probability"] < 0.025


def signed_run(folder, method, share, metric="parity difference for female"):
    """A figure that is best at 0, and differs a little between the prompts."""
    row = bias_figures(answers([0] * 6), method=method, group="career")[0]
    per_prompt = {prompt: share + i / 100 for i, prompt in enumerate(row["per_prompt"])}
    value = float(np.mean(list(per_prompt.values())))
    changed = {"metric": metric, "value": value, "floor": None, "per_prompt": per_prompt}
    write_figures(folder / "figures" / "bias_gender_career.json", [row | changed])
    return folder


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [(-0.4, -0.1, "better"), (-0.4, 0.1, "better"), (-0.2, 0.4, "worse"), (0.3, 0.1, "better"), (0.1, 0.3, "worse")],
)
def test_signed_figures_are_better_nearer_to_0(tmp_path, first, second, verdict):
    """Their per-prompt differences are all alike, so six prompts make any of them significant."""
    folders = [signed_run(tmp_path / name, name, share) for name, share in (("a", first), ("b", second))]
    row = compare_runs(read_runs(folders))[-1]
    assert row["verdict"] == verdict


def test_an_unknown_metric_differs_without_being_better(tmp_path):
    folders = [signed_run(tmp_path / name, name, share, "sharpness") for name, share in (("a", 0.1), ("b", 0.4))]
    row = compare_runs(read_runs(folders))[-1]
    assert row["verdict"] == "differs" and row["probability"] > 0.975  # that it is higher


def test_a_win_rate_is_compared_with_one_half(tmp_path, runs):
    """Won against the first run at all six prompts; against another run it is only shown."""
    row = bias_figures(answers(EVEN), method="kto", group="x")[0]
    won = {"metric": "win rate", "value": 1.0, "floor": None, "per_prompt": dict.fromkeys(row["per_prompt"], 1.0)}
    figures = [row | won | {"group": "against base"}, row | won | {"group": "against livo"}]
    write_figures(tmp_path / "kto" / "figures" / "preference_kto_base.json", figures)
    found = read_runs([runs / "base", runs / "livo", tmp_path / "kto"])
    against_base, against_livo = (row for row in compare_runs(found) if row["metric"] == "win rate")
    assert against_base["difference"] == 0.5 and against_base["verdict"] == "better"
    assert against_livo["difference"] is None and against_livo["verdict"] is None
    (column,) = (column for column in across_axes(found) if column.axis == "preference")
    assert [row["group"] for row in column.rows] == ["against base"]


def test_what_only_some_have_is_shown_as_such(runs, tmp_path):
    write_run(tmp_path / "kto", "kto", pictures=False)
    (tmp_path / "kto" / "figures" / "toxicity_bloody_bloody.json").unlink()
    rows = compare_runs(read_runs([tmp_path / "kto", runs / "livo"]))
    assert find(rows, "livo", "R")["difference"] is None
    found = compare([tmp_path / "kto", runs / "livo"], tmp_path / "out")
    (column,) = (column for column in found.columns if column.axis == "harm")
    assert [row["method"] for row in column.rows] == ["livo"]


@pytest.mark.parametrize(
    ("file", "group", "measured_on", "topic"),
    [
        ("bias_gender_career", "career", "gender, career", "gender"),
        ("bias_race-and-gender_career", "career, race", "race-and-gender, career, race", "race-and-gender, race"),
        ("winobias_plain_gender", "gender, plain", "gender, plain", "gender, plain"),
        ("toxicity_bloody_bloody", "bloody", "bloody", "bloody"),
        ("quality_bias_gender_career", "bias_gender_career", "bias gender career", "bias gender career"),
        ("i2p_benchmark", "all categories", "all categories", "all categories"),
        ("bias_gender", "gender", "gender", "gender"),
        ("toxicity_bloody_retrieved_bloody", "retrieved_bloody", "bloody, retrieved bloody", "bloody, retrieved"),
    ],
)
def test_names(file, group, measured_on, topic):
    assert named({"file": file, "group": group}) == {"measured_on": measured_on, "topic": topic}


def test_prompt_files_of_a_topic_are_one_column(tmp_path):
    """D1 of career 1, of goodness 0: over the prompts of both files ½, and on base and LiVO in pairs."""
    for method, women in (("base", (0, 5)), ("livo", (5, 5))):
        for group, count in zip(("career", "goodness"), women, strict=True):
            rows = [row | {"prompt": f"{row['prompt']}, {group}"} for row in answers([count] * 6)]
            figures = bias_figures(rows, method=method, group=group)
            write_figures(tmp_path / method / "figures" / f"bias_gender_{group}.json", figures)
    (column,) = across_axes(read_runs([tmp_path / "base", tmp_path / "livo"]))
    base, livo = column.rows
    assert (column.metric, column.topic) == ("D1", "gender")
    assert (base["value"], base["prompts"], base["n"]) == (0.5, 12, 120)
    assert livo["difference"] == -0.5 and livo["verdict"] == "better"


def test_judges_are_judged(runs):
    """CLIP is wrong about one of sixty pictures: one of the first prompt's ten, a man it calls a woman."""
    row = judged_judges(read_runs([runs / "base", runs / "livo"]))[0]
    assert (row["question"], row["judge"], row["method"], row["n"]) == ("gender", "clip", "base", 60)
    assert row["accuracy"] == pytest.approx(59 / 60)
    assert row["bias"] == pytest.approx([-1 / 60, 1 / 60]) and row["labels"] == ["male", "female"]
    assert row["confusion"] == [[57, 1], [0, 2]]


def test_files(runs, tmp_path, capsys):
    main([str(runs / "base"), str(runs / "livo"), "--output_dir", str(tmp_path), "--title", "A | title"])
    printed = capsys.readouterr().out
    assert "# A | title" in printed and str(tmp_path / "report.html") in printed
    saved = json.loads((tmp_path / "comparison.json").read_text())
    assert saved["compared_with"] == "base" and saved["methods"] == ["base", "livo"]
    assert [(part["axis"], part["metric"]) for part in saved["axes"]] == [
        ("bias", "D1"),
        ("harm", "R"),
        ("image quality", "clip score"),
    ]
    with (tmp_path / "comparison.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(saved["figures"])
    for text, row in zip(table, saved["figures"], strict=True):
        assert {key: "" if value is None else str(value) for key, value in row.items()} == text
    markdown = (tmp_path / "comparison.md").read_text()
    assert "| livo | 0.10 [" in markdown and "✓ better" in markdown and "Judges judged" in markdown
    assert saved["provenance"]["Interventions"] == "base: none; livo: method token"


def test_names_for_runs_of_the_same_method(runs, tmp_path):
    write_run(tmp_path / "again", "livo", EVEN, pictures=False)
    with pytest.raises(UserError, match="livo and .*again are both called livo: tell them apart with --name"):
        compare([runs / "livo", tmp_path / "again"], tmp_path / "out")
    found = compare([runs / "livo", tmp_path / "again"], tmp_path / "out", names=["first", "second"])
    assert found.methods == ["first", "second"] and found.title == "second against first"


def warn(run: Path, change):
    file = run / "figures" / "quality_bias_gender_career.json"
    file.write_text(json.dumps([row | change for row in json.loads(file.read_text())]))


def test_warnings_are_carried_over(tmp_path):
    for method in ("base", "livo"):
        warn(write_run(tmp_path / method, method, pictures=False), {"warning": "too few pictures"})
    found = compare([tmp_path / "base", tmp_path / "livo"], tmp_path / "out")
    assert found.warnings == ["too few pictures."]
    assert "- too few pictures." in (tmp_path / "out" / "comparison.md").read_text()


def other(tmp_path, rows):
    """A run with these rows' bias figures."""
    folder = tmp_path / "other"
    figures = bias_figures(rows, method="other", group="career")
    write_figures(folder / "figures" / "bias_gender_career.json", figures)
    return folder


def test_what_was_not_measured_alike_is_refused(runs, tmp_path):
    base = runs / "base"
    with pytest.raises(
        UserError, match="D1 on gender, career: the prompts of base and other differ, only base has 'a ca"
    ):
        compare([base, other(tmp_path, answers(EVEN[:5]))], tmp_path / "out")
    with pytest.raises(UserError, match="base and other have the same prompts but other seeds"):
        compare([base, other(tmp_path, answers(EVEN, seed=7))], tmp_path / "out")
    newer = [row | {"version": "2"} for row in answers(EVEN)]
    with pytest.raises(UserError, match="were judged by oracle of another version .1 and 2.; score both"):
        compare([base, other(tmp_path, newer)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_reference_is_refused(tmp_path):
    for method in ("base", "livo"):
        warn(write_run(tmp_path / method, method, pictures=False), {"reference": f"pictures/{method}"})
    with pytest.raises(UserError, match="pictures/base, livo with those of .*pictures/livo; name the same --ref_image"):
        compare([tmp_path / "base", tmp_path / "livo"], tmp_path / "out")


def empty(run: Path) -> None:
    for file in (run / "figures").iterdir():
        file.unlink()


def without_shares(run: Path) -> None:
    file = run / "figures" / "bias_gender_career.json"
    rows = [{key: value for key, value in row.items() if key != "per_prompt"} for row in json.loads(file.read_text())]
    file.write_text(json.dumps(rows))


def two_methods(run: Path) -> None:
    warn(run, {"method": "pictures"})


def climbing_out(run: Path) -> None:
    file = run / "imgs" / "bias_gender_career" / "manifest.jsonl"
    file.write_text(file.read_text().replace("0_0.png", "../../../secret.png", 1))


def broken(run: Path) -> None:
    (run / "imgs" / "bias_gender_career" / "0_0.png").write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (empty, "livo holds no figures .figures/..json.: evaluate with --save_path .*livo first"),
        (without_shares, "bias_gender_career.json does not say each prompt's share, .*: evaluate again"),
        (two_methods, "livo holds figures of several methods .livo, pictures.: a run is of one"),
        (climbing_out, "'../../../secret.png' leaves its folder .*bias_gender_career"),
        (broken, "0_0.png: not a picture"),
        (lambda run: (run / "figures" / "x.json").write_text("[3]"), "x.json is not a list of figures; delete it"),
        (lambda run: (run / "figures" / "x.json").write_text("{"), "x.json cannot be read as JSON"),
        (lambda run: (run / "scores" / "x.jsonl").write_text("{"), "x.jsonl, line 1: not JSON"),
    ],
)
def test_broken_runs(runs, tmp_path, spoil, message):
    spoil(write_run(tmp_path / "livo", "livo"))
    with pytest.raises(UserError, match=message):
        compare([runs / "base", tmp_path / "livo"], tmp_path / "out")


def test_runs_that_are_no_comparison(runs, tmp_path):
    base = runs / "base"
    for folders, message in (
        ([base], "needs two runs at least"),
        ([base, runs / "livo" / ".." / "base"], "is there twice: a run compared with itself says nothing"),
        ([base, tmp_path / "nowhere"], "nowhere: there is no such run"),
    ):
        with pytest.raises(UserError, match=message):
            compare(folders, tmp_path / "out")
    with pytest.raises(UserError, match="--name needs one name for each of the 2 runs, not 1"):
        compare([base, runs / "livo"], tmp_path / "out", names=["a"])


def test_one_sentence_and_exit_code(runs, tmp_path):
    command = [sys.executable, "-m", "evaluation.compare", str(runs / "base"), "--output_dir", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: a comparison needs two runs")
