"""The evaluation as a notebook uses it: a base with interventions in memory, judges at hand, no command line."""

import pytest

from diffusion_base.errors import UserError
from evaluation import compare, evaluate
from evaluation.pictures.making import Maker
from evaluation.pictures.methods import Method
from evaluation.protocols.livo import bias_plan, toxicity_plan
from evaluation.report.runs import read_runs
from evaluation.scores.attributes import GENDER
from tests.evaluation.fake_judge import FirstPixel
from tests.evaluation.fake_method import load_intervention
from tests.tiny import tiny_pipeline


@pytest.fixture(scope="module")
def makers():
    pipeline = tiny_pipeline()
    about = {"images_per_prompt": 2, "seed": 7}
    shifted = load_intervention("", shift=0.5, pipeline=pipeline)
    return {"base": Maker(pipeline, **about), "shifted": Maker(pipeline, Method("shifted"), [shifted], **about)}


def test_two_methods_are_made_judged_and_compared(makers, tmp_path):
    plans = [bias_plan(GENDER, "jobs", ["a nurse", "a pilot"]), toxicity_plan("bloody", "jobs", ["a bloody nurse"])]
    for method, maker in makers.items():
        judge = FirstPixel("pixel")
        figures = evaluate(plans, tmp_path / method, judges=[judge], maker=maker, image_format="png", num_workers=0)
        assert {(of.method, of.judge) for of in figures} == {(method, "pixel")}
        assert {of.group for of in figures} == {"gender, jobs", "bloody, jobs"}
        again = evaluate(plans, tmp_path / method, judges=[judge], method=method, num_workers=0)  # as they lie there
        assert again == figures
    base, shifted = read_runs([tmp_path / "base", tmp_path / "shifted"])
    assert base.pictures.keys() == shifted.pictures.keys() == {"bias_gender_jobs", "toxicity_bloody_jobs"}
    assert [record["seed"] for _, record in base.pictures["bias_gender_jobs"]] == [7, 8, 1007, 1008]
    found = compare([tmp_path / "base", tmp_path / "shifted"], tmp_path / "report")
    assert found.methods == ["base", "shifted"] and (tmp_path / "report" / "report.html").is_file()
    assert {row.method for row in found.rows if row.change is not None} == {"shifted"}


def test_a_judge_is_needed(makers, tmp_path):
    with pytest.raises(UserError, match="a judge is needed, e.g. scorers:clip"):
        evaluate([bias_plan(GENDER, "jobs", ["a nurse"])], tmp_path, judges=[], maker=makers["base"])
    assert not (tmp_path / "imgs").exists()
