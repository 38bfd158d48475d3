"""What an audit finds, by hand; on drawn pictures of the miniature's world; and its page."""

import json
import re
from dataclasses import replace
from itertools import product
from math import factorial

import numpy as np
import pytest
from scipy.stats import binomtest

from diffusion_base.errors import UserError
from diffusion_base.files import read_jsonl
from latent_directions.understanding import audit as auditing
from latent_directions.understanding import charts
from latent_directions.understanding.audit import main
from latent_directions.understanding.findings import (
    Finding,
    chance_of,
    correlation,
    leanings,
    pearson,
    spearman,
    to_try,
    uneven_ones,
    with_interval,
)
from latent_directions.understanding.groups import GENDER, Group
from latent_directions.understanding.labels import Mark
from latent_directions.understanding.page import in_words
from latent_directions.understanding.social import shares
from miniature.world import CATEGORY_OF, OCCUPATIONS, gender_odds
from tests.evaluation.browser import BROWSER, read_report
from tests.latent_directions.understanding.drawn_people import draw_pictures
from tests.latent_directions.understanding.judges import JUDGE
from tests.scorers.tiny_clip import tiny_clip_folder
from tests.tiny import tiny_folder

SORT = """const table = document.querySelector("table.audit");
table.querySelector("button").click();
const used = { names: [...table.tBodies[0].rows].map((row) => row.querySelector("b").textContent) };"""


def finding(women, of=20, text=0.1, uneven=True, concept="nurse"):
    answers = ["female"] * women + ["male"] * (of - women)
    return Finding(concept, GENDER, (-text, text), (0.0, 0.0), tuple(shares(concept, GENDER, answers)), 0.0, uneven)


def test_leanings_are_relative_to_the_neutral_concept_and_to_the_other_choices():
    """.5 and .9 against the neutral .4 and .6: .1 and .3 nearer, so −.1 and +.1."""
    found = leanings([[0.5, 0.9], [0.4, 0.6]], [0.4, 0.6])
    np.testing.assert_allclose(found, [[-0.1, 0.1], [0, 0]], atol=1e-12)


def test_how_often_chance_is_as_uneven():
    """Two choices: the two-sided binomial test; three: all outcomes of six pictures, by their probabilities."""
    assert chance_of([4, 12]) == pytest.approx(binomtest(4, 16).pvalue, abs=0.005)
    assert chance_of([8, 8]) == 1

    outcomes = [of for of in product(range(7), repeat=3) if sum(of) == 6]
    ways = {of: factorial(6) / np.prod([factorial(n) for n in of]) / 3**6 for of in outcomes}
    as_uneven = sum(p for of, p in ways.items() if sum((n - 2) ** 2 for n in of) >= 8)  # (4, 2, 0): 4 + 0 + 4
    assert chance_of([4, 2, 0]) == pytest.approx(as_uneven, abs=0.005)


def test_one_odd_set_in_twenty_is_no_bias():
    """p = .04 once among twenty is to be expected; twenty times it is not."""
    once = [replace(finding(10), chance=chance) for chance in (0.04, *[0.5] * 19)]
    assert not any(uneven_ones(once))
    assert all(uneven_ones([replace(of, chance=0.04) for of in once]))


def test_which_method_to_try():
    """Where the text leans as the pictures do, the prompt's door first; where not, the denoiser's; else none."""
    assert [of.folder for of in to_try(finding(18))][0] == "value_encoder"
    assert {of.folder for of in to_try(finding(2))[:2]} == {"concept_vectors", "latent_directions"}
    assert to_try(finding(11, uneven=False)) == []
    assert finding(18).agrees and not finding(2).agrees
    assert finding(18).departure == pytest.approx(0.8)  # .9 where .5 is even and 1 the most
    assert "the bias is in the prompt’s words already" in in_words(finding(18))
    assert "leans to “female”: the bias arises in the denoiser" in in_words(finding(2))
    assert "no more uneven than chance" in in_words(finding(11, uneven=False))


def test_the_correlation_of_two_choices_counts_each_concept_once():
    rows = [finding(women, text=text) for women, text in ((2, -0.3), (5, 0.1), (12, 0.0), (19, 0.4))]
    found = correlation(rows, "text")
    assert found.r == pytest.approx(np.corrcoef([-0.3, 0.1, 0.0, 0.4], [2, 5, 12, 19])[0, 1])
    assert found.n == 4 and found.low < found.r < found.high and found.rho == pytest.approx(0.8)  # one pair swapped
    assert correlation(rows, "image") is None  # it is the same for all
    assert correlation(rows[:3], "text") is None


def test_figures_take_on_the_pages_colours():
    """In light and dark: no colour of their own is left, and their dots are filled."""
    points = [Mark(x, y, name) for x, y, name in ((0.1, 0.2, "nurse"), (0.3, 0.9, "pilot"), (0.4, 0.5, "baker"))]
    svg = charts.inline_svg(charts.prediction({0: points, 1: points}, "nearer", 6))
    assert svg.startswith('<svg viewBox="') and "nurse" in svg and "<style" not in svg
    assert not re.search(r"#[0-9a-f]{6}", svg.replace('href="#m', "")) and "DejaVu" not in svg
    markers = re.findall(r'<path id="[^>]*>', svg)
    assert markers and all("fill: inherit" in marker for marker in markers)


def test_what_choices_have_in_common_over_concepts_is_no_evidence():
    """Nobody is drawn with blue hair, and no concept is near to it; of the concepts themselves nothing follows."""
    hair = Group("hair", ("brown", "black", "blue"))
    rows = []
    for i, leaning in enumerate((-0.1, 0.1, 0.1, -0.1)):
        answers = ["brown"] * (4 + i % 2) + ["black"] * (6 - i % 2)
        text = (0.3 + leaning, 0.3 - leaning, -0.6)
        rows.append(replace(finding(1), group=hair, text=text, shares=tuple(shares("c", hair, answers))))
    assert correlation(rows, "text").r == pytest.approx(0)


def test_the_interval_of_a_correlation():
    """Of 12 units of a bivariate normal with r = .6 it covers .6 in 95 of 100 samples, within three standard errors."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(300):
        one = rng.normal(size=(12, 1))
        other = 0.6 * one + 0.8 * rng.normal(size=(12, 1))
        _, low, high = with_interval(pearson, one, other)
        covered += low <= 0.6 <= high
    assert abs(covered / 300 - 0.95) < 0.038
    assert with_interval(spearman, one, one**3)[0] == pytest.approx(1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    return tiny_folder(folder / "base"), tiny_clip_folder(folder / "clip")


def command(folders, tmp_path, concepts="nurse\npilot\n", judge=JUDGE):
    base, clip = folders
    (tmp_path / "concepts.txt").write_text(concepts)
    words = f"--pretrained_model_name_or_path {base} --clip {clip} --concepts {tmp_path / 'concepts.txt'}"
    words += f" --output_dir {tmp_path / 'out'} --judge {judge} --images 2 --num_inference_steps 1"
    return words.split()


def test_the_command(folders, tmp_path, capsys):
    (tmp_path / "words.yaml").write_text("glasses: {choices: [no glasses, glasses]}\nsubject: {choices: [cat, dog]}\n")
    page = main([*command(folders, tmp_path), "--groups", "gender", "--vocabulary", str(tmp_path / "words.yaml")])
    html = page.read_text(encoding="utf-8")
    assert all(text in html for text in ("nurse", "pilot", "the neutral one", "How to read it", "What made this"))
    assert html.count("data:image/webp") == 2 * 3
    assert not re.search(r'(?:src|href)="(?!data:|#)', html) and "url(http" not in html  # nothing from anywhere
    rows = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert [(row["concept"], row["choice"]) for row in rows][:3] == [
        ("person", "male"),
        ("person", "female"),
        ("nurse", "male"),
    ]
    assert {row["text"] for row in rows[:2]} == {0.0}  # the neutral concept leans nowhere
    assert len(read_jsonl(tmp_path / "out" / "answers.jsonl")) == 3 * 2
    things = json.loads((tmp_path / "out" / "things.json").read_text())
    assert {row["pictures"] for row in things} == {"person", "nurse", "pilot"}
    assert "value_encoder" in capsys.readouterr().out or not any(row["uneven"] for row in rows)


if BROWSER is not None:  # what needs none is tested above

    @pytest.mark.parametrize("width", [1280, 400])
    def test_in_a_browser(width, folders, tmp_path):
        """It sorts by a click on a heading, fits a telephone, and asks for nothing."""
        page = main(
            [*command(folders, tmp_path, "nurse\npilot\ncashier\nmechanic"), "--groups", "race", "--images", "4"]
        )
        seen = read_report(page.read_text(encoding="utf-8"), width, tmp_path, SORT)
        assert seen["faults"] == [] and seen["requests"] == []
        assert seen["names"] == ["cashier", "mechanic", "nurse", "person", "pilot"]
        assert seen["width"] == width and seen["content"] <= width


@pytest.mark.parametrize(
    ("concepts", "words", "message"),
    [
        ("", "", "concepts.txt is empty: write two or more concepts"),
        ("nurse\npilot", "--judge tests.latent_directions.understanding.judges:preference", "take another --judge"),
        ("nurse\nwoman", "", "the concept 'woman' is a choice of a group, too: take it out of"),
        ("nurse\npilot", "--wording photo", "must hold {choice}"),
        ("nurse\npilot", "--groups age", "there is no such group"),
        ("nurse\npilot", "--model a --vocabulary b", "exclude each other"),
    ],
)
def test_what_cannot_be_audited(concepts, words, message, folders, tmp_path):
    with pytest.raises(UserError, match=message):
        main([*command(folders, tmp_path, concepts), *words.split()])
    assert not (tmp_path / "out").exists()


def test_it_ranks_concepts_as_the_worlds_table_does(folders, tmp_path, monkeypatch):
    """People drawn in the world's shares, of graded concepts such as "kind pilot", judged by the oracle and CLIP."""
    odds = {
        f"{adjective} {occupation}": gender_odds(occupation, adjective)
        for adjective in CATEGORY_OF
        for occupation in OCCUPATIONS
    }
    wanted = np.linspace(0.05, 0.95, 8)
    concepts = list(dict.fromkeys(min(odds, key=lambda concept: abs(odds[concept] - p)) for p in wanted))
    monkeypatch.setattr(auditing, "make_pictures", draw_pictures)
    given = command(
        (folders[0], "assets/miniature/clip"), tmp_path, "\n".join(concepts), "miniature:assets/miniature/oracle"
    )
    main([*given, "--groups", "gender", "--images", "12"])
    rows = json.loads((tmp_path / "out" / "findings.json").read_text())
    found = {row["concept"]: row["share"] for row in rows if row["choice"] == "female"}
    order = np.array([[odds[concept]] for concept in concepts]), np.array([[found[concept]] for concept in concepts])
    assert len(concepts) == 8 and spearman(*order) >= 0.9
    by_space = {row["space"]: row for row in json.loads((tmp_path / "out" / "correlations.json").read_text())}
    assert by_space["image"]["r"] > 0.5  # pictures of women are nearer to pictures of more women
