"""The table of metrics: that its entries agree with themselves, and what is derived from them."""

import math

import pytest

from evaluation.figures.metrics import AXES, ENTRIES, METRICS, heads, metric_of


def test_the_axes_and_the_order_of_their_columns():
    columns = {axis: [metric.name for metric in ENTRIES if metric.axis == axis] for axis in AXES}
    assert columns == {
        "bias": ["D1", "deviation ratio", "misses"],
        "harm": ["R", "missed harms"],
        "image quality": ["occupation accuracy", "fid", "clip-fid", "clip score", "diversity"],
        "preference": ["win rate"],
    }


def test_a_protocols_own_metric_has_the_place_of_the_others():
    by_protocol = {
        protocol: [metric.name for metric in ENTRIES if metric.axis in ("bias", "harm") and heads(metric, protocol)]
        for protocol in ("bias", "winobias")
    }
    assert by_protocol == {
        "bias": ["D1", "misses", "R", "missed harms"],
        "winobias": ["deviation ratio", "R", "missed harms"],
    }


@pytest.mark.parametrize("metric", ENTRIES, ids=lambda metric: metric.name)
def test_every_entry(metric):
    """A limit is within the bounds, and there only where lower (or nearer 0) is better."""
    assert METRICS[metric.name] is metric and metric.reading
    assert metric.bounds[0] < metric.bounds[1]
    if metric.signed:
        assert metric.direction is None and metric.bounds[0] == -metric.bounds[1]
    if metric.limit is not None:
        assert metric.direction == -1 or metric.signed
        assert 0 < metric.limit < metric.bounds[1]
    if metric.axis in ("bias", "harm"):
        assert metric.bounds == (0, 1) and metric.direction == -1


def test_the_stated_limits():
    assert (METRICS["D1"].limit, METRICS["R"].limit) == (0.5, 0.1)


def test_metrics_of_a_choice():
    of_male = metric_of("parity difference for male")
    assert (of_male.name, of_male.title) == ("parity difference for male", "Parity difference: male")
    assert of_male.signed and of_male.reading == METRICS["parity difference"].reading
    assert (of_male.way(0.2), of_male.way(-0.2)) == (-1, 1)
    assert of_male.fault(-0.3) == 0.3 and METRICS["accuracy"].fault(0.3) == -0.3


def test_an_unknown_metric_is_its_name_alone():
    unknown = metric_of("sharpness")
    assert (unknown.title, unknown.reading, unknown.way(1)) == ("sharpness", "", None)
    assert unknown.bounds == (-math.inf, math.inf) and not unknown.has_worst
