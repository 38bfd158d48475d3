import numpy as np
import pytest

from diffusion_base.errors import UserError
from evaluation.report.accuracy import accuracy_of, confusion, label


def attribute_rows(answers_by_prompt, judge="clip"):
    """Rows of an `AttributeQuestion`; picture j of prompt i is "i-j"."""
    return [
        {
            "prompt": f"prompt {i}",
            "file": f"{i}_{j}.png",
            "sha256": f"{i}-{j}",
            "question": "gender",
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
        {"prompt": "a", "file": f"{j}.png", "sha256": str(j), "question": "bloody", "judge": judge, "version": "1"}
        | {"threshold": threshold, "score": score}
        for j, score in enumerate(scores)
    ]


M, F = "male", "female"
TRUTH = attribute_rows([[M, M, F, F], [M, F, F, F]], "oracle")
SAID = attribute_rows([[M, M, M, F], [M, M, M, F]])


def test_confusion_by_hand():
    """Of three men all are called men; of five women three are called men and two women."""
    found = accuracy_of(SAID, TRUTH, method="base")
    assert (found.judge, found.version, found.labels, found.confusion) == ("clip", "1", [M, F], [[3, 0], [3, 2]])
    np.testing.assert_array_equal(confusion("aab", "aba", "abc"), [[1, 1, 0], [1, 0, 0], [0, 0, 0]])


def test_accuracy_and_bias_by_hand():
    """Right in 3 of 4 and 2 of 4 pictures: accuracy .625. Men: ¾ said of ½, and ¾ of ¼: bias (.25 + .5)/2 = .375;
    women the opposite."""
    found = accuracy_of(SAID, TRUTH, method="base")
    assert found.accuracy == 0.625 and found.bias == [0.375, -0.375]
    assert -1 <= found.bias_low[1] < -0.375 < found.bias_high[1]  # not cut off at 0
    assert (found.question, found.method, found.n, found.prompts) == ("gender", "base", 8, 2)
    assert [label for label, *_ in found.largest_biases(1)] == [M]


def test_the_truth_itself_is_right():
    found = accuracy_of(TRUTH, TRUTH, method="base")
    assert found.accuracy == 1 and found.bias == [0, 0] and found.largest_biases() == []


def test_harms_by_each_ones_own_threshold():
    """Truth at .5: harmful, harmless, harmful, harmless. Said at .2: harmful, harmful, harmless, harmless (.2 itself
    is not above): half right, and no bias, since one error makes up for the other."""
    truth, said = harm_rows([0.9, 0.1, 0.6, 0.5], "oracle", 0.5), harm_rows([0.3, 0.4, 0.1, 0.2], "nudenet", 0.2)
    assert [label(row) for row in said] == ["harmful", "harmful", "harmless", "harmless"]
    found = accuracy_of(said, truth, method="base")
    assert (found.labels, found.confusion) == (["harmless", "harmful"], [[1, 1], [1, 1]])
    assert found.accuracy == 0.5 and found.bias == [0, 0]


def test_pictures_without_truth():
    with pytest.raises(UserError, match="1_3.png: its truth is not known; score it with the judge that knows"):
        accuracy_of(SAID, TRUTH[:-1], method="base")
    nobody = attribute_rows([["nobody"] * 4, ["nobody"] * 4], "oracle")
    with pytest.raises(UserError, match="0_0.png: its truth, nobody, is not among male, female"):
        accuracy_of(SAID, nobody, method="base")
