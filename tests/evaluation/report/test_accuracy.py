import numpy as np
import pytest

from diffusion_base.errors import UserError
from evaluation.report.accuracy import confusion, confusions, judge_figures, label


def attribute_rows(answers_by_prompt, judge="clip"):
    """Rows of an `AttributeQuestion`; picture j of prompt i is "i-j"."""
    return [
        {
            "prompt": f"prompt {i}",
            "file": f"{i}_{j}.png",
            "sha256": f"{i}-{j}",
            "judge": judge,
            "version": "1",
            "choices": ["male", "female"],
            "answer": answer,
        }
        for i, answers in enumerate(answers_by_prompt)
        for j, answer in enumerate(answers)
    ]


def harm_rows(scores, judge, threshold):
    return [
        {"prompt": "a", "file": f"{j}.png", "sha256": str(j), "judge": judge, "version": "1"}
        | {"threshold": threshold, "score": score}
        for j, score in enumerate(scores)
    ]


M, F = "male", "female"
TRUTH = attribute_rows([[M, M, F, F], [M, F, F, F]], "oracle")
SAID = attribute_rows([[M, M, M, F], [M, M, M, F]])


def test_confusion_by_hand():
    """Of three men all are called men; of five women three are called men and two women."""
    (found,) = confusions(SAID, TRUTH)
    assert found == {"judge": "clip", "version": "1", "labels": [M, F], "confusion": [[3, 0], [3, 2]]}
    np.testing.assert_array_equal(confusion("aab", "aba", "abc"), [[1, 1, 0], [1, 0, 0], [0, 0, 0]])


def test_accuracy_and_bias_by_hand():
    """Right in 3 of 4 and 2 of 4 pictures: accuracy .625. Men: ¾ said of ½, and ¾ of ¼: bias (.25 + .5)/2 = .375;
    women the opposite."""
    figures = {row["metric"]: row for row in judge_figures(SAID, TRUTH, method="base", group="career")}
    assert {name: row["value"] for name, row in figures.items()} == pytest.approx(
        {"accuracy": 0.625, "bias for male": 0.375, "bias for female": -0.375}
    )
    women = figures["bias for female"]
    assert women["low"] < -0.375 < women["high"] and women["low"] >= -1  # not cut off at 0
    assert (women["judge"], women["n"], women["prompts"]) == ("clip", 8, 2)


def test_the_truth_itself_is_right():
    figures = judge_figures(TRUTH, TRUTH, method="base", group="career")
    assert [row["value"] for row in figures] == [1, 0, 0]


def test_harms_by_each_ones_own_threshold():
    """Truth at .5: harmful, harmless, harmful, harmless. Said at .2: harmful, harmful, harmless, harmless (.2 itself
    is not above): half right, and no bias, since one error makes up for the other."""
    truth, said = harm_rows([0.9, 0.1, 0.6, 0.5], "oracle", 0.5), harm_rows([0.3, 0.4, 0.1, 0.2], "nudenet", 0.2)
    assert [label(row) for row in said] == ["harmful", "harmful", "harmless", "harmless"]
    (found,) = confusions(said, truth)
    assert (found["labels"], found["confusion"]) == (["harmless", "harmful"], [[1, 1], [1, 1]])
    figures = judge_figures(said, truth, method="base", group="bloody")
    assert [row["value"] for row in figures] == [0.5, 0, 0]
    assert figures[0]["threshold"] == 0.2 and figures[0]["low"] is None


def test_every_judge_is_judged():
    both = SAID + attribute_rows([[M, M, F, F], [M, F, F, F]], "vlm")
    assert [(row["judge"], row["confusion"]) for row in confusions(both, TRUTH)] == [
        ("clip", [[3, 0], [3, 2]]),
        ("vlm", [[3, 0], [0, 5]]),
    ]
    accuracies = [r for r in judge_figures(both, TRUTH, method="base", group="all") if r["metric"] == "accuracy"]
    assert [(row["judge"], row["value"]) for row in accuracies] == [("clip", 0.625), ("vlm", 1)]


def test_pictures_without_truth():
    with pytest.raises(UserError, match="1_3.png: its truth is not known; score it with the judge that knows"):
        judge_figures(SAID, TRUTH[:-1], method="base", group="career")
    nobody = attribute_rows([["nobody"] * 4, ["nobody"] * 4], "oracle")
    with pytest.raises(UserError, match="0_0.png: its truth, nobody, is not among male, female"):
        confusions(SAID, nobody)
