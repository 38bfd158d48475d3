"""What a scene wants, round by round, and what it keeps; the expected numbers are derived by hand."""

import pytest
import torch

from preference_data.gathering import Want, apportion, imbalance, in_turn, quotas, representation, seed_of, wants_of
from preference_data.plan import Bias, Harm, Plan, Scene, Wording
from preference_data.screening import objection

GENDER = Bias(
    kind="bias",
    statement="gender equality",
    groups={"male": Wording(subject="male {subject}"), "female": Wording(subject="female {subject}", negative="male")},
    confidence=0.7,
)
BLOODY = Harm(
    kind="harm",
    statement="bloody considered inappropriate",
    question="bloody",
    harmful=Wording(subject="bloody {subject}"),
    harmless=Wording(negative="blood"),
)
TEMPLATES = ("a photo of a {subject}", "a {subject}")
NURSE = Scene("0-career", "nurse", "gender", GENDER, TEMPLATES, 8)


def plan(**settings) -> Plan:
    categories = {"0-career": {"subjects": ["nurse"], "values": ["gender"]}}
    shared = {"templates": list(TEMPLATES), "images_per_side": 8, "categories": categories}
    return Plan(**shared, values={"gender": GENDER.model_dump()}, **settings)


def test_what_a_plain_prompt_over_represents():
    answers = [{"male": 0.9, "female": 0.1}, {"male": 0.4, "female": 0.6}, {"male": 0.51, "female": 0.49}]
    counts = representation(GENDER, answers)
    assert counts == {"male": 2, "female": 1}
    assert imbalance(counts) == pytest.approx(1 / 3)
    assert imbalance({"a": 3, "b": 0, "c": 1}) == 0.75


def test_the_preferred_side_shows_the_under_represented_groups_the_rarer_the_more():
    """Of 40 pictures an even share of five groups is 8. Below: d (5) and e (1), weights 45/6 and 45/2, as 1 : 3."""
    preferred, dispreferred = quotas({"a": 16, "b": 10, "c": 8, "d": 5, "e": 1}, 16)
    assert preferred == {"d": 4, "e": 12} and dispreferred == {"a": 16}


def test_a_group_that_is_never_seen_has_a_finite_weight():
    """Weights (11 + 3)/1 and (11 + 3)/2, as 2 : 1."""
    assert quotas({"light": 10, "brown": 1, "dark": 0}, 9) == ({"brown": 3, "dark": 6}, {"light": 9})


def test_apportion_by_largest_remainders():
    """7 · (½, ⅓, ⅙) = 3.5, 2.33, 1.17: one is left, and ½ is the largest remainder."""
    assert apportion(7, {"a": 3, "b": 2, "c": 1}) == {"a": 4, "b": 2, "c": 1}
    assert apportion(1, {"a": 3, "b": 2}) == {"a": 1}


def test_the_sides_of_a_harm():
    scene = Scene("3-bloody", "nurse", "bloody", BLOODY, TEMPLATES, 5)
    wants = [(want.preferred, want.shows, want.wanted) for want in wants_of(scene, None)]
    assert wants == [(True, "harmless", 5), (False, "harmful", 5)]


def test_rounds_double_until_the_attempts_are_used_up():
    """8 wanted, oversampling 1.25, at most 3 × 8 = 24: 10 made, 6 kept; then ⌈2 · 1.25 · 2⌉ = 5; then the 9 left."""
    settings = plan(oversampling=1.25, attempts=3)
    want = Want(NURSE, True, "female", 8)
    made = []
    for number, kept in ((0, 6), (1, 0), (2, 0)):
        records = want.next_records(number, settings, 7, "png")
        made.append(len(records))
        for i, record in enumerate(records):
            answer = {"male": 0.1, "female": 0.9} if i < kept else {"male": 0.9, "female": 0.1}
            want.consider(record, answer, torch.eye(64)[want.made], 0.99)
    assert made == [10, 5, 9]
    assert not want.next_records(3, settings, 7, "png")
    assert len(want.kept) == 6 and want.rejected == {"shows male": 18} and want.made == 24


def test_a_full_side_makes_nothing_more():
    want = Want(NURSE, True, "female", 2)
    for i, record in enumerate(want.next_records(0, plan(oversampling=2), 0, "png")):
        want.consider(record, {"male": 0.0, "female": 1.0}, torch.eye(8)[i], 0.99)
    assert len(want.kept) == 2 and want.surplus == 2 and not want.rejected
    assert not want.next_records(1, plan(), 0, "png")


def test_why_pictures_are_rejected():
    want = Want(NURSE, True, "female", 8)
    records = want.next_records(0, plan(), 0, "png")
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.8, 0.6])
    sure, unsure, male = {"male": 0.2, "female": 0.8}, {"male": 0.4, "female": 0.6}, {"male": 0.6, "female": 0.4}
    for record, answer, feature in zip(records, (sure, unsure, male, sure, sure), (one, one, one, one, other)):  # noqa: B905
        want.consider(record, answer, feature, 0.79)
    assert want.rejected == {"unsure": 1, "shows male": 1, "near duplicate": 2}
    assert [record["file"] for record in want.kept] == ["0-career/nurse-gender/female-0000.png"]
    want.consider(records[5], sure, other, None)
    assert len(want.kept) == 2


def test_a_harm_counts_from_above_the_judge_s_threshold():
    at, above = {"score": 0.2, "threshold": 0.2}, {"score": 0.201, "threshold": 0.2}
    assert objection(BLOODY, at, "harmless") is None and objection(BLOODY, at, "harmful") == "harmless"
    assert objection(BLOODY, above, "harmful") is None and objection(BLOODY, above, "harmless") == "harmful"


def test_records_say_how_a_picture_is_made_and_what_the_data_says():
    first, second = Want(NURSE, True, "female", 2).next_records(0, plan(oversampling=1), 0, "jpg")
    assert first["file"] == "0-career/nurse-gender/female-0000.jpg"
    assert first["prompt"] == "a photo of a female nurse" and first["negative_prompt"] == "male"
    assert first["written_prompt"] == "a photo of a nurse" and second["written_prompt"] == "a nurse"
    seeds = {seed_of(seed, "0-career/nurse-gender/female", i) for seed in (0, 1) for i in (0, 1)}
    assert len(seeds) == 4 and {first["seed"], second["seed"]} < seeds


def test_groups_of_a_side_take_turns():
    wants = [Want(NURSE, True, "male", 3, kept=[{"n": n} for n in (1, 3, 4)]), Want(NURSE, True, "female", 1)]
    wants[1].kept = [{"n": 2}]
    assert [record["n"] for record in in_turn(wants)] == [1, 2, 3, 4]
