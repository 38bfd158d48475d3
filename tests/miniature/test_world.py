"""The world: its tables, its captions, its pictures."""

import numpy as np
import pytest

from miniature.captions import caption
from miniature.drawing import SIZE, render
from miniature.oracle import HEADS, truth
from miniature.outfits import OUTFITS, POSTER_SHAPES, THING_SHAPES
from miniature.world import (
    ADJECTIVES,
    GENDERS,
    HELD_OUT,
    OCCUPATIONS,
    P_FEMALE,
    P_SKIN,
    SKIN_TONES,
    THINGS,
    TRAINING_OCCUPATIONS,
    VALUES,
    Scene,
    draw_person,
    draw_scene,
    gender_odds,
    skin_odds,
)


def test_tables_are_complete():
    assert len(OCCUPATIONS) >= 24 and len(HELD_OUT) == 8 and len(TRAINING_OCCUPATIONS) == 16
    assert not set(HELD_OUT) & set(TRAINING_OCCUPATIONS)
    assert set(OUTFITS) == {*OCCUPATIONS, "person"}
    assert set(THING_SHAPES) == set(THINGS) and set(POSTER_SHAPES) == set(VALUES)
    for row in [*P_SKIN.values(), *(tones for group in ADJECTIVES.values() for _, tones in group.values())]:
        assert sum(row) == pytest.approx(1)


def test_held_out_occupations_are_biased_both_ways():
    assert sum(P_FEMALE[o] > 0.5 for o in HELD_OUT) == 4


def test_odds_multiply():
    """A brave (0.10) nurse (0.94): odds 1/9 · 94/6 = 1.7407, so P = 1.7407/2.7407 = 0.6351."""
    assert gender_odds("nurse", "brave") == pytest.approx(0.6351, abs=1e-4)
    assert gender_odds("nurse") == pytest.approx(0.94)
    assert skin_odds("person") == pytest.approx([1 / 3] * 3)


def test_bias_lives_only_where_the_caption_is_silent():
    rng = np.random.default_rng(0)
    people = [draw_person(rng, "soldier") for _ in range(4000)]
    share = {said: np.mean([p.gender == "female" for p in people if p.says_gender == said]) for said in (True, False)}
    assert share[True] == pytest.approx(0.5, abs=0.05)
    assert share[False] == pytest.approx(P_FEMALE["soldier"], abs=0.02)


def test_captions_name_what_they_say_and_never_the_flaw():
    rng = np.random.default_rng(1)
    for _ in range(3000):
        scene = draw_scene(rng)
        words = caption(scene, rng)
        assert "weird" not in words
        if not scene.is_person:
            assert scene.subject in words
            continue
        named = {word for word in ("male", "female", "man", "woman") if word in words.replace(",", "").split()}
        assert bool(named) == scene.says_gender
        assert named <= ({"male", "man"} if scene.gender == "male" else {"female", "woman"})
        assert ("skin" in words) == scene.says_skin
        assert (scene.skin.split()[0] in words) or not scene.says_skin
        harm_words = {"bloody": "blood", "zombie": "zombie", "nudity": "nude"}
        mentioned = any(w in words for w in ("blood", "zombie", "undead", "nude", "naked", "without clothes"))
        assert mentioned == (scene.harm is not None), (words, harm_words)


@pytest.mark.parametrize("subject", ["nurse", "person", "cat", "gender equality"])
def test_same_scene_same_picture(subject):
    scene = Scene(subject, *(("female", "dark skin") if subject in ("nurse", "person") else ()), seed=5)
    first, second = render(scene), render(scene)
    assert first.size == (SIZE, SIZE) and first.tobytes() == second.tobytes()
    assert render(scene.with_(seed=6)).tobytes() != first.tobytes()


def test_every_attribute_shows():
    base = Scene("judge", "male", "light skin", seed=3)
    others = [
        base.with_(gender="female"),
        *(base.with_(skin=tone) for tone in SKIN_TONES[1:]),
        *(base.with_(harm=harm) for harm in ("bloody", "zombie", "nudity")),
        *(base.with_(adjective=adjective) for adjective in ("kind", "cruel", "ambitious")),
        base.with_(weird=True),
        base.with_(glasses=True),
        *(base.with_(subject=occupation) for occupation in OCCUPATIONS if occupation != "judge"),
    ]
    pictures = [np.asarray(render(scene), dtype=int) for scene in (base, *others)]
    for i, a in enumerate(pictures):
        for b in pictures[:i]:
            assert (np.abs(a - b).max(-1) > 60).sum() >= 8  # at least eight pixels that nobody could miss


def test_truth_has_a_label_under_every_head():
    rng = np.random.default_rng(2)
    for _ in range(200):
        labels = truth(draw_scene(rng))
        assert set(labels) == set(HEADS) and all(0 <= i < len(HEADS[head]) for head, i in labels.items())
    assert GENDERS[0] == HEADS["gender"][0]
