import pytest

from evaluation.report.wording import chance, change, largest_biases, limits, listed, number, percent, plain, signed


@pytest.mark.parametrize(("value", "text"), [(0.125, "+0.12"), (-0.5, "−0.50"), (0.001, "0.00"), (-0.001, "0.00")])
def test_signs(value, text):
    assert signed(value) == text and plain(value) == text.removeprefix("+")


def test_figures_in_their_digits():
    row = {"metric": "kid", "value": 0.00123, "low": -0.0004, "high": 0.002}
    assert (number(row), limits(row)) == ("0.0012", "[−0.0004, 0.0020]")
    assert limits(row | {"low": None, "high": None}) == ""


def test_differences():
    row = {"metric": "R", "difference": -0.25, "difference_low": -0.5, "difference_high": 0.001}
    assert change(row) == "−0.25 [−0.50, 0.00]"
    assert change(row | {"difference_low": None}) == "−0.25"
    assert change(row | {"difference": None}) == ""


@pytest.mark.parametrize(("share", "text"), [(0.9996, "> 99.9%"), (0.0, "< 0.1%"), (0.9375, "93.8%"), (None, "")])
def test_no_confidence_is_certainty(share, text):
    assert chance({"probability": share}) == text


def test_shares_and_lists():
    assert (percent(1), percent(0.9983), percent(0.25)) == ("100%", "99.8%", "25%")
    assert (listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])) == ("a", "a and b", "a, b and c")


def test_the_largest_biases_come_first_and_none_that_is_0():
    judged = {"labels": ["a", "b", "c"], "bias": [0.1, 0.0, -0.2], "bias_low": [None] * 3, "bias_high": [None] * 3}
    assert [label for label, *_ in largest_biases(judged)] == ["c", "a"]
