"""Runs on disk to one comparison: what is paired, what is marked, what is written, and one sentence for bad input."""

import base64
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion_base.errors import UserError, run
from evaluation.compare import compare, main
from evaluation.figures.from_scores import bias_figures
from evaluation.figures.intervals import paired_difference
from evaluation.figures.record import Subject
from evaluation.figures.stored import read_figures, write_figures
from evaluation.protocols.livo import livo_subject
from evaluation.report.accuracy import accuracy_of_judges
from evaluation.report.axes import across_axes
from evaluation.report.paired import compare_runs, warnings
from evaluation.report.runs import read_runs
from tests.evaluation.fake_runs import CAREER, answers, write_run

EVEN = (5, 4, 6, 5, 5, 4, 5, 4)  # women among ten pictures


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The base shows hardly any women and always the harm, LiVO half and never; its CLIP score is a little lower."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "base", "base")
    write_run(folder / "livo", "livo", EVEN, harm=0.2, clip=29.5)
    return folder


def find(rows, method, metric, judge="oracle"):
    (row,) = (row for row in rows if (row.method, row.figure.metric, row.figure.judge) == (method, metric, judge))
    return row


def test_differences_are_those_of_each_prompt(runs):
    """D1 is |10 − 2w| / 10: the base's .8 twice and else 1, LiVO's 0 or .2."""
    rows = compare_runs(read_runs([runs / "base", runs / "livo"]))
    found = find(rows, "livo", "D1")
    assert found.change.value == pytest.approx((0.8 - 7.6) / 8)
    by_hand = paired_difference([0, 0.2, 0.2, 0, 0, 0.2, 0, 0.2], [1, 1, 0.8, 1, 0.8, 1, 1, 1], bounds=(0, 1))
    assert (found.change.low, found.change.high) == pytest.approx(by_hand[1:3])
    assert found.change.probability == pytest.approx(1 - by_hand.probability)  # lower is better
    assert found.change.verdict == "better" and found.measured_on == "gender, career"
    assert find(rows, "base", "D1").change is None


def test_the_share_of_prompts_past_the_limit_is_compared_too(tmp_path):
    """Women 1, 1, 1, 1, 1, 0 and 2, 2, 2, 2, 2, 0 of ten: the mean D1 falls, .83 to .67, and all six stay past .5.

    With four women each none is past it: six of six change to the better side. With one 0 left, five are no proof.
    """
    folders = [
        write_run(tmp_path / name, name, women, pictures=False)
        for name, women in (("base", (1,) * 5 + (0,)), ("a", (2,) * 5 + (0,)), ("b", (4,) * 6), ("c", (4,) * 5 + (0,)))
    ]
    rows = compare_runs(read_runs(folders))
    still, better, but_one = (find(rows, name, "D1") for name in "abc")
    assert still.change.value == pytest.approx(-1 / 6) and still.past_change.value == 0
    assert still.past_change.verdict == ""
    assert better.past_change.value == -1 and better.past_change.verdict == "better"
    assert better.past_change.probability == 1 - paired_difference([0] * 6, [1] * 6, bounds=(0, 1)).probability
    assert but_one.past_change.value == pytest.approx(-5 / 6) and but_one.past_change.verdict == ""
    assert but_one.figure.worst == ("a cashier", 1.0) and but_one.figure.past_limit == pytest.approx(1 / 6)
    assert find(rows, "a", "clip score", "clip-features").past_change is None


def test_each_metric_knows_which_way_is_better(runs):
    rows = compare_runs(read_runs([runs / "base", runs / "livo"]))
    assert find(rows, "livo", "R").change.verdict == "better"
    clip = find(rows, "livo", "clip score", "clip-features")
    assert (
        clip.change.verdict == "worse" and 29.5 < clip.figure.low < clip.figure.high < 31
    )  # no room as far as 0 or 100
    turned = compare_runs(read_runs([runs / "livo", runs / "base"]))
    assert find(turned, "base", "D1").change.verdict == "worse"
    assert find(turned, "base", "D1").change.probability < 0.025


def signed_run(folder, method, share, metric="parity difference for female"):
    """A figure of 36 prompts that is best at 0, and differs a little between them."""
    figure = bias_figures(answers([0] * 6), method=method, subject=CAREER)[0]
    per_unit = {f"prompt {i}": share * (1 + i / 360) for i in range(36)}
    value = float(np.mean(list(per_unit.values())))
    figure = replace(figure, metric=metric, value=value, floor=None, per_unit=per_unit)
    write_figures(folder / "figures" / "bias_gender_career.json", [figure])
    return folder


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [(-0.4, -0.1, "better"), (-0.4, 0.1, "better"), (-0.2, 0.4, "worse"), (0.3, 0.1, "better"), (0.1, 0.3, "worse")],
)
def test_signed_figures_are_better_nearer_to_0(tmp_path, first, second, verdict):
    """Their differences are nearly alike at all prompts, of which 36 make any of them significant."""
    folders = [signed_run(tmp_path / name, name, share) for name, share in (("a", first), ("b", second))]
    row = compare_runs(read_runs(folders))[-1]
    assert row.change.verdict == verdict


def test_an_unknown_metric_differs_without_being_better(tmp_path):
    folders = [signed_run(tmp_path / name, name, share, "sharpness") for name, share in (("a", 0.1), ("b", 0.4))]
    row = compare_runs(read_runs(folders))[-1]
    assert row.change.verdict == "differs" and row.change.probability > 0.975  # that it is higher


def test_a_win_rate_is_compared_with_one_half(tmp_path, runs):
    """Won against the first run at all eight prompts; against another run it is only shown."""
    figure = bias_figures(answers(EVEN), method="kto", subject=CAREER)[0]
    won = replace(figure, metric="win rate", value=1.0, floor=None, per_unit=dict.fromkeys(figure.per_unit, 1.0))
    figures = [replace(won, subject=Subject("preference", "x", f"against {name}")) for name in ("base", "livo")]
    write_figures(tmp_path / "kto" / "figures" / "preference_kto_base.json", figures)
    found = read_runs([runs / "base", runs / "livo", tmp_path / "kto"])
    against_base, against_livo = (row for row in compare_runs(found) if row.figure.metric == "win rate")
    assert against_base.change.value == 0.5 and against_base.change.verdict == "better"
    assert against_livo.change is None
    (column,) = (column for column in across_axes(found) if column.metric.axis == "preference")
    assert [row.figure.group for row in column.rows] == ["against base"]


def test_what_only_some_have_is_shown_as_such(runs, tmp_path):
    write_run(tmp_path / "kto", "kto", pictures=False)
    (tmp_path / "kto" / "figures" / "toxicity_bloody_bloody.json").unlink()
    rows = compare_runs(read_runs([tmp_path / "kto", runs / "livo"]))
    assert find(rows, "livo", "R").change is None
    found = compare([tmp_path / "kto", runs / "livo"], tmp_path / "out")
    (column,) = (column for column in found.columns if column.metric.axis == "harm")
    assert [row.method for row in column.rows] == ["livo"]


def test_prompt_files_of_a_topic_are_one_column(tmp_path):
    """D1 of career 1, of goodness 0: over the prompts of both files ½, and on base and LiVO in pairs."""
    for method, women in (("base", (0, 5)), ("livo", (5, 5))):
        for name, count in zip(("career", "goodness"), women, strict=True):
            rows = [row | {"prompt": f"{row['prompt']}, {name}"} for row in answers([count] * 6)]
            figures = bias_figures(rows, method=method, subject=livo_subject("bias", "gender", name))
            write_figures(tmp_path / method / "figures" / f"{name}.json", figures)
    (column,) = across_axes(read_runs([tmp_path / "base", tmp_path / "livo"]))
    base, livo = column.rows
    assert (column.metric.name, column.topic) == ("D1", "gender")
    assert (base.figure.value, len(base.figure.per_unit), base.figure.n) == (0.5, 12, 120)
    assert livo.change.value == -0.5 and livo.change.verdict == "better"
    assert base.sets == ("bias_gender_career", "bias_gender_goodness") and base.figure.past_limit == 0.5


def test_accuracy_of_the_judges(runs):
    """CLIP is wrong about one of eighty pictures: one of the first prompt's ten, a man it calls a woman."""
    one = accuracy_of_judges(read_runs([runs / "base", runs / "livo"]))[0]
    assert (one.question, one.judge, one.method, one.n) == ("gender", "clip", "base", 80)
    assert one.accuracy == pytest.approx(79 / 80)
    assert one.bias == pytest.approx([-1 / 80, 1 / 80]) and one.labels == ["male", "female"]
    assert one.confusion == [[77, 1], [0, 2]]


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
    assert "| livo | 0.10 [" in markdown and "✓ better" in markdown and "Accuracy of the judges" in markdown
    assert "worst 0.20 a nurse and 3 more; 0 of 8 > 0.5 ✓ better" in markdown
    assert saved["provenance"]["Interventions"] == "base: none; livo: method token"


def test_names_for_runs_of_the_same_method(runs, tmp_path):
    write_run(tmp_path / "again", "livo", EVEN, pictures=False)
    with pytest.raises(UserError, match="livo and .*again are both called livo: tell them apart with --name"):
        compare([runs / "livo", tmp_path / "again"], tmp_path / "out")
    found = compare([runs / "livo", tmp_path / "again"], tmp_path / "out", names=["first", "second"])
    assert found.methods == ["first", "second"] and found.title == "second against first"


def warn(run: Path, **changes):
    file = run / "figures" / "quality_bias_gender_career.json"
    write_figures(file, [replace(figure, **changes) for figure in read_figures(file)])


def test_warnings_are_carried_over(tmp_path):
    for method in ("base", "livo"):
        warn(write_run(tmp_path / method, method, pictures=False), warning="too few pictures")
    found = compare([tmp_path / "base", tmp_path / "livo"], tmp_path / "out")
    assert found.warnings[0] == "too few pictures."
    assert "- too few pictures." in (tmp_path / "out" / "comparison.md").read_text()


def test_what_chance_would_mark_is_an_average(runs):
    """One in 20 of 30 comparisons: of 15 figures, and of their shares of prompts past the limit."""
    row = find(compare_runs(read_runs([runs / "base", runs / "livo"])), "livo", "D1")
    assert row.past_change is not None
    expected = "Of the 30 comparisons here, on average 2 or fewer would be marked if nothing differed."
    assert warnings([row] * 15) == [expected] and warnings([row] * 10) == []


def other(tmp_path, rows):
    """A run with these rows' bias figures."""
    folder = tmp_path / "other"
    figures = bias_figures(rows, method="other", subject=CAREER)
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
        warn(write_run(tmp_path / method, method, pictures=False), reference=f"pictures/{method}")
    with pytest.raises(UserError, match="pictures/base, livo with those of .*pictures/livo; name the same --ref_image"):
        compare([tmp_path / "base", tmp_path / "livo"], tmp_path / "out")


def empty(run: Path) -> None:
    for file in (run / "figures").iterdir():
        file.unlink()


def without_shares(run: Path) -> None:
    file = run / "figures" / "bias_gender_career.json"
    content = json.loads(file.read_text())
    del content["figures"][0]["per_prompt"]
    file.write_text(json.dumps(content))


def two_methods(run: Path) -> None:
    warn(run, method="pictures")


def climbing_out(run: Path) -> None:
    file = run / "imgs" / "bias_gender_career" / "manifest.jsonl"
    file.write_text(file.read_text().replace("0_0.png", "../../../secret.png", 1))


def broken(run: Path) -> None:
    (run / "imgs" / "bias_gender_career" / "0_0.png").write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (empty, "livo holds no figures .figures/..json.: evaluate with --save_path .*livo first"),
        (
            without_shares,
            "bias_gender_career.json: a figure lacks 'per_prompt'; delete it, and run its evaluation again",
        ),
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


def test_one_sentence_and_exit_code(runs, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(lambda: main([str(runs / "base"), "--output_dir", str(tmp_path)]))
    printed = capsys.readouterr().err
    assert stopped.value.code == 2 and printed.count("\n") == 1
    assert printed.startswith("error: a comparison needs two runs")


def test_charts_are_in_the_report(runs, tmp_path):
    picture = tmp_path / "map.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    compare([runs / "base", runs / "livo"], tmp_path / "out", charts={"What a map shows": picture})
    html = (tmp_path / "out" / "report.html").read_text()
    assert "<h2>What a map shows</h2>" in html and base64.b64encode(picture.read_bytes()).decode() in html
