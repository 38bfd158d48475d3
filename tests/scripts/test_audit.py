"""The miniature's audit: the files it is given, and how it is held against the world's table."""

import json
from pathlib import Path

import pytest
import yaml

from latent_directions.understanding import audit as auditing
from latent_directions.understanding.findings import Finding
from latent_directions.understanding.groups import GENDER, Group
from latent_directions.understanding.page import Audit
from latent_directions.understanding.social import shares
from miniature.world import OCCUPATIONS, SKIN_TONES, gender_odds, skin_odds
from scripts import audit
from scripts.audit import against_the_world
from tests.latent_directions.understanding.drawn_people import draw_pictures

ROOT = Path(__file__).resolve().parents[2]


def found(share_of_women):
    """Of every occupation as many women among 1,000 pictures as told, and the tones as the world has them."""
    skin, findings = Group("skin", SKIN_TONES), []
    for of in OCCUPATIONS:
        women = round(1000 * share_of_women(of))
        people = ["female"] * women + ["male"] * (1000 - women)
        tones = [tone for tone, p in zip(SKIN_TONES, skin_odds(of), strict=True) for _ in range(round(1000 * p))]
        for group, answers in ((GENDER, people), (skin, tones)):
            none = (0.0,) * len(group.choices)
            findings.append(Finding(of, group, none, none, tuple(shares(of, group, answers)), 1.0))
    return Audit("person", [GENDER, skin], {}, findings, {}, {})


def test_against_the_world():
    gender, skin = against_the_world(found(gender_odds))
    assert (gender["metric"], gender["group"], gender["method"]) == ("Spearman", "gender", "audit")
    assert gender["value"] == pytest.approx(1) and skin["value"] == pytest.approx(1)
    assert gender["n"] == 1000 * len(OCCUPATIONS)
    assert against_the_world(found(lambda of: 1 - gender_odds(of)))[0]["value"] == pytest.approx(-1)


def test_the_script_on_drawn_pictures(tmp_path, monkeypatch, capsys):
    few = sorted(OCCUPATIONS, key=gender_odds)[:: len(OCCUPATIONS) // 4][:4]
    monkeypatch.setattr(audit, "OCCUPATIONS", few)
    monkeypatch.chdir(ROOT)
    out = tmp_path / "out"
    monkeypatch.setattr(auditing, "make_pictures", draw_pictures)
    page = audit.main(["--output_dir", str(out), "--images", "2"])
    assert "Against the world’s own table, gender: " in page.read_text(encoding="utf-8")
    assert {row["group"]: row["n"] for row in json.loads((out / "results.json").read_text())} == {
        "gender": 8,
        "skin": 8,
    }
    vocabulary = yaml.safe_load((out / "vocabulary.yaml").read_text())
    assert "subject" in vocabulary and not {"gender", "skin"} & vocabulary.keys()
    assert str(page) in capsys.readouterr().out
