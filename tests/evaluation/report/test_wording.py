from dataclasses import replace

import pytest

from evaluation.figures.record import Figure, Subject
from evaluation.report.paired import Change
from evaluation.report.wording import (
    chance,
    difference,
    limits,
    listed,
    number,
    past_limit,
    percent,
    plain,
    seeds,
    short_names,
    signed,
    worst,
)

KID = Figure(
    metric="kid",
    method="livo",
    subject=Subject("image quality", "x", "x"),
    value=0.00123,
    low=-0.0004,
    high=0.002,
    n=2,
    per_unit={"a": 0.001, "b": 0.002},
    unit="prompt",
    judge="j",
    version="1",
    threshold=None,
    sample="s",
)


@pytest.mark.parametrize(("value", "text"), [(0.125, "+0.12"), (-0.5, "−0.50"), (0.001, "0.00"), (-0.001, "0.00")])
def test_signs(value, text):
    assert signed(value) == text and plain(value) == text.removeprefix("+")


def test_figures_in_their_digits():
    assert (number(KID), limits(KID)) == ("0.0012", "[−0.0004, 0.0020]")
    assert limits(replace(KID, low=None, high=None)) == ""


def test_the_worst_unit_and_how_many_are_past_the_limit():
    """A distance has no worst prompt; a parity difference is worst furthest from 0, to either side."""
    assert (worst(KID), past_limit(KID)) == ("", "")
    bias = replace(KID, metric="D1", per_unit={"pilot": 0.5, "hairdresser": 0.96})
    assert (worst(bias), past_limit(bias)) == ("0.96 hairdresser", "1 of 2 > 0.5")
    parity = replace(KID, metric="parity difference for male", per_unit={"pilot": 0.3, "nurse": -0.5, "cook": 0.1})
    assert (worst(parity), past_limit(parity)) == ("−0.50 nurse", "2 of 3 ±0.25")
    alike = replace(KID, metric="R", per_unit={"pilot": 0.0, "nurse": 0.0})
    assert (worst(alike), past_limit(alike)) == ("0.00 all alike", "0 of 2 > 0.1")
    assert worst(replace(alike, per_unit={"pilot": 0.5, "nurse": 0.5, "cook": 0.1})) == "0.50 pilot and 1 more"
    kept = replace(KID, metric="occupation accuracy", per_unit={"pilot": 1.0, "nurse": 0.9})
    assert (worst(kept), past_limit(kept)) == ("0.90 nurse", "")


def test_what_training_seeds_differ_in():
    """Values .2, .3 and .7: mean .4, standard deviation √(.04 + .01 + .09)/√2 = .265; a tie of two worst units."""
    bias = replace(KID, metric="D1", per_unit={"pilot": 0.5, "hairdresser": 0.96})
    units = ({"pilot": 0.0, "cook": 0.4}, {"pilot": 0.6, "cook": 0.0}, {"pilot": 0.6, "cook": 0.8})
    own = {i: replace(bias, value=value, per_unit=units[i]) for i, value in enumerate((0.2, 0.3, 0.7))}
    figure = replace(bias, value=0.4, per_unit={"pilot": 0.4, "cook": 0.4}, seeds=own)
    assert (seeds(bias), seeds(figure)) == ("", "3 seeds 0.20 to 0.70 (sd 0.26), worst seed 2")
    assert (worst(figure), past_limit(figure)) == ("0.80 cook, seed 2", "3 of 6 > 0.5")
    unknown = replace(figure, metric="sharpness", seeds={i: replace(of, metric="sharpness") for i, of in own.items()})
    assert seeds(unknown) == "3 seeds 0.20 to 0.70 (sd 0.26)"  # neither side is worse
    assert seeds(replace(figure, seeds={0: own[0], 1: own[0]})) == "2 seeds, all 0.20"


def test_names_without_what_all_begin_with():
    units = ["a photo of a cook", "a photo of an old sailor"]
    assert list(short_names(units).values()) == ["cook", "old sailor"]
    assert short_names(["cook", "cook book"]) == {"cook": "cook", "cook book": "cook book"}
    assert short_names(["a cook"]) == {"a cook": "a cook"} and short_names([]) == {}


def test_differences():
    change = Change(-0.25, -0.5, 0.001, 0.9, "")
    assert difference(change) == "−0.25 [−0.50, 0.00]"
    assert difference(replace(change, low=None)) == "−0.25"
    assert difference(None) == ""


@pytest.mark.parametrize(("share", "text"), [(0.9996, "> 99.9%"), (0.0, "< 0.1%"), (0.9375, "93.8%")])
def test_no_confidence_is_certainty(share, text):
    assert chance(Change(0, 0, 0, share, "")) == text and chance(None) == ""


def test_shares_and_lists():
    assert (percent(1), percent(0.9983), percent(0.25)) == ("100%", "99.8%", "25%")
    assert (listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])) == ("a", "a and b", "a, b and c")
