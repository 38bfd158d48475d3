"""Runs of one method that differ in the training seed: what is said of them, and what is no such thing."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from diffusion_base.errors import UserError
from evaluation.compare import compare, main
from evaluation.figures.from_scores import bias_figures
from evaluation.figures.intervals import mean_interval, paired_difference
from evaluation.figures.stored import read_figures, write_figures
from evaluation.pictures.training import training_seed
from evaluation.report.album import Album
from evaluation.report.axes import across_axes
from evaluation.report.paired import compare_runs
from evaluation.report.runs import read_runs
from evaluation.report.seeds import by_method
from tests.evaluation.fake_runs import CAREER, answers, write_run
from tests.evaluation.report.test_compare import find

# women among ten pictures of eight prompts: D1 is |10 − 2w| / 10
EVEN, ONE_FAILS, ALL_FAIL = (5,) * 8, (5, 5, 5, 5, 5, 5, 5, 0), (1, 1, 1, 1, 1, 1, 1, 1)
D1 = {0: 0.0, 1: 1 / 8, 7: 0.8}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The base, and LiVO with the training seeds 0, 1 and 7; the last fails."""
    folder = tmp_path_factory.mktemp("runs")
    found = [write_run(folder / "base", "base")]
    for seed, women, clip in ((0, EVEN, 29.0), (1, ONE_FAILS, 30.0), (7, ALL_FAIL, 31.0)):
        found.append(write_run(folder / f"livo_{seed}", "livo", women, 0.2, clip, training_seed=seed))
    return found


def rows_of(folders):
    return compare_runs(by_method(read_runs(folders)))


def test_means_over_seeds_with_intervals_for_both(folders):
    """The prompts' means are .8/3 seven times, and (1 + .8)/3 where seed 1 fails too."""
    figure = find(rows_of(folders), "livo", "D1").figure
    prompts = [0.8 / 3] * 7 + [1.8 / 3]
    assert list(figure.per_unit.values()) == pytest.approx(prompts)
    expected = mean_interval(prompts, seeds=list(D1.values()))
    assert (figure.value, figure.low, figure.high) == pytest.approx(expected)
    assert figure.high > mean_interval(prompts).high + 0.2
    assert {seed: of.value for seed, of in figure.seeds.items()} == pytest.approx(D1)
    assert figure.spread == pytest.approx(np.std(list(D1.values()), ddof=1)) and figure.n == 3 * 80
    assert figure.worst_seed == 7 and figure.worst == ("a tailor", 1.0) and figure.seed_of_worst == 1
    assert sum(figure.past.values()) * 3 == pytest.approx(1 + 8) and figure.past_limit == pytest.approx(9 / 24)


def test_a_base_without_training_is_compared_prompt_by_prompt(folders):
    row = find(rows_of(folders), "livo", "D1")
    theirs = np.abs(10 - 2 * np.array((0, 0, 1, 0, 1, 0, 0, 0))) / 10
    expected = paired_difference(list(row.figure.per_unit.values()), theirs, bounds=(0, 1), seeds=[list(D1.values())])
    assert (row.change.value, row.change.low, row.change.high) == pytest.approx(expected[:3])
    assert row.change.probability == pytest.approx(1 - expected.probability)
    shares = [[0, 1 / 8, 1], []]
    past = paired_difference([1 / 3] * 7 + [2 / 3], [1] * 8, bounds=(0, 1), seeds=shares)
    assert (row.past_change.value, row.past_change.high) == pytest.approx((past.value, past.high))


def test_the_table_of_all_axes_and_other_metrics(folders):
    columns = across_axes(by_method(read_runs(folders)))
    assert [[row.method for row in column.rows] for column in columns] == [["base", "livo"]] * 3
    clip = columns[-1].rows[1].figure  # higher is better
    assert clip.worst_seed == 0 and clip.low < clip.value < clip.high
    parity = find(rows_of(folders), "livo", "parity difference for male").figure
    own = list(parity.per_unit.values())
    limits = mean_interval(own, bounds=(-0.5, 0.5), seeds=[of.value for of in parity.seeds.values()])
    assert (parity.low, parity.high) == pytest.approx(limits[1:])


def test_files(folders, tmp_path, capsys):
    main([*map(str, folders), "--output_dir", str(tmp_path)])
    said = "3 seeds 0.00 to 0.80 (sd 0.43), worst seed 7; worst 1.00 a tailor, seed 1; 9 of 24 > 0.5"
    assert said in capsys.readouterr().out
    saved = json.loads((tmp_path / "comparison.json").read_text())
    assert saved["methods"] == ["base", "livo"]
    (row,) = (
        row for row in saved["figures"] if (row["method"], row["metric"], row["judge"]) == ("livo", "D1", "oracle")
    )
    assert row["seeds"] == [0, 1, 7] and row["seed_values"] == pytest.approx(list(D1.values()))
    assert (row["worst_seed"], row["worst_seed_value"], row["worst_unit"], row["worst_unit_seed"]) == (
        *(7, 0.8),
        *("a tailor", 1),
    )
    assert saved["figures"][0]["seeds"] == [] and saved["figures"][0]["worst_seed"] is None
    with (tmp_path / "comparison.csv").open(newline="") as file:
        assert next(line for line in csv.DictReader(file) if line["method"] == "livo")["seeds"] == "[0, 1, 7]"
    assert "livo, seed 7: " in saved["provenance"]["Run"]
    judges = {judge["method"]: judge["n"] for judge in saved["judges"]}
    assert judges == {"base": 80, "livo": 240}
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text in (
        "3 seeds 0.00 to 0.80 (sd 0.43), worst seed 7",
        "over prompts and training seeds",
        "<span>livo, seed 7</span>",
    ):
        assert text in html
    assert "livo against base" in html and 'class="seed" d="M800.0 1v16"' in html


def test_two_methods_with_seeds_and_one_alone(folders, tmp_path):
    kto = [write_run(tmp_path / str(seed), "kto", EVEN, pictures=True, training_seed=seed) for seed in (0, 1)]
    row = find(rows_of([*folders[1:], *kto]), "kto", "D1")
    expected = paired_difference([0] * 8, [0.8 / 3] * 7 + [0.6], bounds=(0, 1), seeds=[list(D1.values()), [0, 0]])
    assert (row.change.low, row.change.high) == pytest.approx(expected[1:3])
    (strip,) = Album(read_runs([*folders[1:], *kto])).give_out("bias_gender_career", 1)
    assert list(strip.rows) == ["livo, seed 0", "livo, seed 1", "livo, seed 7", "kto, seed 0", "kto, seed 1"]
    assert strip.width == 6  # of five runs, so that a strip has no more than 32 pictures
    assert compare(folders[1:], tmp_path / "out").title == "livo, trained with several seeds"


def test_what_is_not_one_method_with_several_seeds(folders, tmp_path):
    base, livo = folders[:2]
    again = write_run(tmp_path / "again", "livo", EVEN, training_seed=0)
    with pytest.raises(
        UserError, match="livo_0 and .*again are both livo with training seed 0: leave one out, or tell"
    ):
        compare([base, livo, again], tmp_path / "out")
    assert compare([base, livo, again], tmp_path / "out", names=["base", "livo", "2"]).methods == ["base", "livo", "2"]
    unknown = write_run(tmp_path / "unknown", "livo", EVEN)
    with pytest.raises(
        UserError, match="unknown are both called livo: .* --name, for .*unknown does not say its train"
    ):
        compare([base, livo, unknown], tmp_path / "out")
    fewer = write_run(tmp_path / "fewer", "livo", EVEN[:5], training_seed=5)
    with pytest.raises(
        UserError, match="the prompts of livo with training seed 0 and livo with training seed 5 differ"
    ):
        compare([base, livo, fewer], tmp_path / "out")
    lacking = write_run(tmp_path / "lacking", "livo", EVEN, training_seed=6)
    (lacking / "figures" / "toxicity_bloody_bloody.json").unlink()
    with pytest.raises(UserError, match="lacking lacks R on bloody by oracle, which .*livo_0 has, livo with another"):
        compare([base, livo, lacking], tmp_path / "out")


def test_runs_of_former_versions_name_their_training(tmp_path):
    """run.json did not say the seed: the figures name the interventions, beside which the training says it."""
    specs = []
    for seed in (3, 4):
        (tmp_path / f"run{seed}" / "value_encoder").mkdir(parents=True)
        (tmp_path / f"run{seed}" / "training.json").write_text(json.dumps({"arguments": {"seed": seed}}))
        specs.append(f"value_encoder:{tmp_path}/run{seed}/value_encoder?value=x")
        (figure, *_) = bias_figures(answers(EVEN), method="livo", subject=CAREER)
        file = tmp_path / f"eval{seed}" / "figures" / "bias_gender_career.json"
        write_figures(file, [replace(figure, interventions=(specs[-1], "value_retriever:keywords"))])
        assert read_figures(file)[0].seeds == {}
    (only,) = rows_of([tmp_path / "eval3", tmp_path / "eval4"])
    assert list(only.figure.seeds) == [3, 4]
    checkpoint = tmp_path / "checkpoint-2"
    checkpoint.mkdir()
    (checkpoint / "state.json").write_text(json.dumps({"run": {"arguments": {"seed": 9}}}))
    assert training_seed([f"concept_vectors:{checkpoint}?group=a,b"]) == 9
    assert training_seed(specs) is training_seed([]) is training_seed(["value_encoder:owner/name"]) is None
    (checkpoint / "state.json").write_text("[")
    assert training_seed([f"concept_vectors:{checkpoint}"]) is None
