"""The report: to scale, in one file, small, and, where there is a browser, as a reader meets it."""

import base64
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from diffusion_base.errors import UserError
from diffusion_base.files import write_jsonl
from diffusion_base.page.rendering import THUMBNAIL, thumbnail
from evaluation.compare import compare
from evaluation.figures.from_scores import bias_figures
from evaluation.figures.metrics import metric_of
from evaluation.figures.record import Figure
from evaluation.figures.stored import write_figures
from evaluation.pictures.prompts import make_records
from evaluation.report import charts
from evaluation.report.album import PICTURES, Album
from evaluation.report.axes import across_axes
from evaluation.report.runs import read_runs
from tests.evaluation.browser import BROWSER, read_report
from tests.evaluation.fake_runs import CAREER, answers, harm_rows, write_run, write_set

NAME = "livo <i>&</i> more"
VOID = {"meta", "link", "img", "input", "br"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    write_run(folder / "base", "base")
    write_run(folder / "livo", "livo", (5, 4, 6, 5, 5, 4, 5, 4), harm=0.2, clip=29.5)
    write_run(folder / "kto", "kto", (0, 1, 1, 1, 2, 2, 1, 1), harm=0.8, clip=31.0)
    compare([folder / name for name in ("base", "livo", "kto")], folder, names=["base", NAME, "kto"], intro="<Done.>")
    return folder


@pytest.fixture(scope="module")
def html(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """The page as elements: (tag, attributes, the texts inside, the tags around it)."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict, list[str], list[str]]] = []
        self.open: list[tuple[str, dict, list[str], list[str]]] = []
        self.feed(html)
        assert not self.open, "an element is not closed"

    def handle_starttag(self, tag, attrs):
        element = (tag, dict(attrs), [], [around[0] for around in self.open])
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), [], []))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for element in self.open:
            element[2].append(data)

    def all(self, tag, **wanted):
        return [e for e in self.elements if e[0] == tag and wanted.items() <= e[1].items()]

    def text(self, tag, **wanted):
        return [" ".join("".join(e[2]).split()) for e in self.all(tag, **wanted)]


def test_one_file_that_asks_for_nothing(html):
    page = Page(html)
    sources = [e[1][key] for e in page.elements for key in ("src", "href", "srcset", "action") if key in e[1]]
    assert sources and all(source.startswith("data:") for source in sources)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttp", html)
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy[1]["content"].startswith("default-src 'none'; img-src data:;")


def test_names_are_text(html):
    page = Page(html)
    assert page.text("h1") == [f"{NAME} and kto against base"] and "<Done.>" in page.text("p")
    assert not page.all("i")


def test_every_method_on_every_axis(html):
    page = Page(html)
    (table,) = page.text("table", **{"class": "axes sortable"})
    assert "Imbalance D1gender ↓ Harmful pictures Rbloody ↓ CLIP score ↑" in table
    row = next(text for text in page.text("tr") if text.startswith(NAME))
    assert "0.10[" in row and row.count("✓ better") == 4 and row.count("✗ worse") == 1
    assert "✓ betterworst 0.20 a nurse and 3 more 0 of 8 > 0.5 ✓ better" in row
    said, _ = page.text("li")
    assert said.startswith(f"{NAME} against base: ✓ better Imbalance D1, gender (0.95 → 0.10), Harmful pictures R")
    assert "✗ worse CLIP score (30.75 → 30.24)" in said


def test_tables_can_be_sorted_by_each_heading(html):
    """As many cells in each row as headings in the last line of the head, each with a button."""
    tables = re.findall(r'<table class="[^"]*sortable">(.*?)</table>', html, flags=re.S)
    assert len(tables) == 2
    for table in tables:
        head, body = table.split("</thead>")
        last = head.rsplit("<tr", 1)[1]
        columns = len(re.findall(r"<th[ >]", last))
        assert last.count("<button") >= columns - 1  # one column of all figures holds marks alone
        for row in body.split("</tr>")[:-1]:
            assert len(re.findall(r"<t[hd][ >]", row)) == columns


def test_harmful_pictures_hide_behind_boxes(html):
    """The ones of the set with figures of harm, and no others; a box before each picture, and one for each section."""
    page = Page(html)
    hidden = [e for e in page.all("img") if "label" in e[3]]
    assert hidden and {"bloody" in e[1]["alt"] for e in hidden} == {True}
    assert not any("bloody" in e[1]["alt"] for e in page.all("img") if "label" not in e[3])
    boxes = [e[1]["aria-label"].removeprefix("Show: ") for e in page.all("input") if "aria-label" in e[1]]
    assert boxes == [e[1]["alt"] for e in hidden]
    assert "filter: blur" in html and "input:checked + img" in html
    assert "Show the blurred pictures of this section" in page.text("label")


def test_pictures_are_the_runs_own(folder, html):
    """Column j of a method's row is the picture of seed j."""
    (shown,) = [e for e in Page(html).all("img") if e[1]["alt"] == "a nurse, kto, picture 3"]
    encoded = base64.b64decode(shown[1]["src"].partition(",")[2])
    with Image.open(folder / "kto" / "imgs" / "bias_gender_career" / "1_2.png") as picture:
        expected = np.asarray(picture.convert("RGB"), dtype=float)
    with Image.open(io.BytesIO(encoded)) as image:
        assert image.format == "WEBP"
        assert np.abs(np.asarray(image.convert("RGB"), dtype=float) - expected).mean() < 20


def test_the_worst_prompts(html):
    """Of D1 kto's pilot, where there is no woman at all; of R all are alike."""
    section = html[html.index("The worst prompts") :]
    first = Page(section[section.index("<figure") : section.index("</figure>") + 9])
    assert first.text("h3")[0].startswith("a pilot")
    assert first.text("div", **{"class": "line"}) == [f"base 1.00{NAME} 0.00kto 1.00"]


def test_the_accuracy_of_judges_stands_beside_the_figures(html):
    assert "judged by oracle; clip is right about 98.8% of base’s, 100% of livo" in " ".join(
        Page(html).text("figcaption")
    )
    assert "Accuracy of the judges" in html and "male −0.013" in html


def test_provenance(html):
    text = " ".join(Page(html).text("dd"))
    for part in ("tiny, weights abc123", "steps 2", "torch 2", "version 1, harmful above 0.5", "base: none; livo"):
        assert part in text


def figure(value, low=None, high=None, floor=None, metric="D1", method="livo", judge="oracle", per_unit=None):
    about = {"n": 1, "unit": "prompt", "version": "1", "threshold": None, "sample": "s", "subject": CAREER}
    limits = {"low": low, "high": high, "floor": floor}
    return Figure(metric=metric, method=method, value=value, judge=judge, per_unit=per_unit or {}, **limits, **about)


def test_bars_are_drawn_to_scale():
    """0…1 is 1,000 units: .2 is a bar of 200, limits .1 and .3 lie at 100 and 300, the floor .11 at 110."""
    bar = charts.bar(figure(0.2, 0.1, 0.3, 0.11), [figure(0.25, judge="clip")], charts.Scale(0, 1), 1)
    assert '<rect class="m1" x="0.0" y="3" width="200.0"' in bar
    assert "M100.0 9H300.0" in bar and 'class="floor" d="M110.0' in bar
    assert 'class="other" d="M250.0 9h0"><title>clip: 0.25</title>' in bar


def test_scales():
    """Shares to 1; others from 0 to a round number above all, and to one below all that are under 0.

    A diversity of .2 fills half of its bar, though 2 is possible.
    """
    d1, clip, kid, diversity = map(metric_of, ("D1", "clip score", "kid", "diversity"))
    assert charts.bar_scale(d1, [figure(0.2)]).ticks == ["0", "0.5", "1"]
    assert charts.bar_scale(clip, [figure(31.4, 31, 33)]).ticks == ["0", "25", "50"]
    assert charts.bar_scale(kid, [figure(0.001, -0.003, 0.004)]).ticks == ["-0.005", "0", "0.005"]
    assert charts.bar_scale(diversity, [figure(0.1, 0.05, 0.2)]).ticks == ["0", "0.1", "0.2"]
    assert charts.dot_scale(clip, [figure(31, per_unit={"a": 30.0, "b": 32.0})]).ticks == ["29.9", "31", "32.1"]
    seed = figure(36, per_unit={"a": 40.0, "b": 32.0}, metric="clip score")
    seeded = replace(figure(31, per_unit={"a": 30.0, "b": 32.0}, metric="clip score"), seeds={0: seed})
    assert charts.dot_scale(clip, [seeded]).ticks == ["29.7", "35", "40.3"]
    assert charts.Scale(0, 2)(0.5) == 250 and charts.Scale(3, 3).high == 4


def test_dots_are_paired_by_prompt():
    """A line from a's 0 to its .5, and from b's 1 to its .25; the methods' dots lie at heights 13 and 39; the limit .5
    is a line at 500."""
    base = figure(0.5, method="base", per_unit={"a": 0.0, "b": 1.0})
    livo = figure(0.5, per_unit={"b": 0.25, "a": 0.5})
    drawn = charts.spread([base, livo], charts.Scale(0, 1), {"base": 0, "livo": 1})
    assert "M0.0 13L500.0 39M1000.0 13L250.0 39" in drawn and 'class="limit" d="M500.0 0V52"' in drawn
    assert "<title>b: 0.25 (livo)</title>" in drawn


def test_every_unit_has_a_line_of_dots_with_its_name():
    """The compared method's worst first, in whichever seed: b is .7 in seed 1, a .4 in both; the limit is at 500."""
    base = figure(0.5, method="base", per_unit={"a photo of a cook": 0.25, "a photo of an officer": 1.0})
    seeds = {
        seed: figure(0, per_unit={"a photo of a cook": 0.4, "a photo of an officer": value})
        for seed, value in ((0, 0.0), (1, 0.7))
    }
    livo = replace(figure(0.4, per_unit={"a photo of a cook": 0.4, "a photo of an officer": 0.35}), seeds=seeds)
    worst, cook = charts.by_unit([base, livo], charts.Scale(0, 1), {"base": 0, "livo": 1})
    assert (worst.name, worst.unit, worst.past) == ("officer", "a photo of an officer", True)
    assert (cook.name, cook.past) == ("cook", False)
    assert 'class="limit" d="M500.0 0V16"' in worst.svg and "M1000.0 8H350.0" in worst.svg
    assert 'class="dot m1 small" d="M700.0 8h0"><title>livo, seed 1: 0.7</title>' in worst.svg
    assert 'class="dot m1" d="M350.0 8h0"><title>livo: 0.35</title>' in worst.svg
    assert 'aria-label="a photo of an officer: base 1, livo 0.35"' in worst.svg
    many = [figure(0.5, per_unit={f"p{i}": i / 100 for i in range(100)})]
    assert [dots.name for dots in charts.by_unit(many, charts.Scale(0, 1), {"livo": 1})] == [
        f"p{i}" for i in range(99, 91, -1)
    ]


def photograph(side=512):
    """Noise of all sizes, as in a picture of many things."""
    rng, total = np.random.default_rng(0), np.zeros((side, side, 3))
    for size in (4, 8, 16, 32, 64, 128, 256, 512):
        noise = Image.fromarray(rng.integers(0, 255, (size, size, 3), dtype=np.uint8))
        total += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC)) / size**0.7
    return Image.fromarray((255 * (total - total.min()) / np.ptp(total)).astype(np.uint8))


def test_five_hundred_pictures_stay_below_five_megabytes(tmp_path):
    picture = tmp_path / "photograph.jpg"
    photograph().save(picture, quality=95)
    rows = answers([5] * 6, count=50)
    for method in ("base", "livo"):
        folder = tmp_path / method / "imgs" / "bias_gender_career"
        folder.mkdir(parents=True)
        records = make_records([f"prompt {i}" for i in range(5)], images_per_prompt=50, suffix="jpg")
        for record in records:
            shutil.copy(picture, folder / record["file"])
        write_jsonl(folder / "manifest.jsonl", records)
        figures = bias_figures(rows, method=method, subject=CAREER)
        write_figures(tmp_path / method / "figures" / "bias_gender_career.json", figures)
    compare([tmp_path / "base", tmp_path / "livo"], tmp_path / "out")
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    one, shown = thumbnail(picture), report.count("<img")
    assert shown == 5 * 2 * 8  # all prompts: two methods, eight seeds
    assert len(report) + (PICTURES - shown) * len(one) < 5_000_000  # were it full of such pictures
    with Image.open(io.BytesIO(base64.b64decode(one.partition(",")[2]))) as small:
        assert small.size == (THUMBNAIL, THUMBNAIL)


def test_pictures_are_given_out_once_and_not_without_end(tmp_path):
    folders = [write_run(tmp_path / method, method) for method in ("base", "livo")]
    album = Album(read_runs(folders))
    shown = [strip.prompt for _ in range(3) for strip in album.give_out("bias_gender_career", 4)]
    assert shown == ["a pilot", "a nurse", "a judge", "a farmer", "a dancer", "a cashier", "a chef", "a tailor"]
    assert PICTURES - album.left == 8 * 2 * 8  # two methods, eight seeds
    album.left = 25
    assert len(album.give_out("toxicity_bloody_bloody", 4)) == 2  # ten pictures a prompt: five of each method


def test_only_pictures_with_the_value_are_shown(tmp_path):
    """Of LiVO's pictures half are the base's; they would show no change."""
    base, livo = write_run(tmp_path / "base", "base"), write_run(tmp_path / "livo", "livo")
    file = livo / "imgs" / "bias_gender_career" / "manifest.jsonl"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    write_jsonl(file, [record | {"value_applied": i % 2 == 1} for i, record in enumerate(records)])
    strip = Album(read_runs([base, livo])).give_out("bias_gender_career", 1)[0]
    assert [path.name for path in strip.rows["base"]] == ["0_1.png", "0_3.png", "0_5.png", "0_7.png", "0_9.png"]


def test_a_set_that_one_method_lacks(tmp_path):
    base, livo = write_run(tmp_path / "base", "base"), write_run(tmp_path / "livo", "livo")
    write_set(livo, "extra", harm_rows([[0.1] * 3]))
    runs = read_runs([base, livo])
    assert Album(runs).give_out("extra", 1)[0].rows.keys() == {"livo"}
    assert len(Album(runs).worst(across_axes(runs))) == 3


def test_a_broken_picture_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="broken.png"):
        thumbnail(tmp_path / "broken.png")


if BROWSER is not None:  # what needs none is tested above

    @pytest.mark.parametrize("width", [1280, 400])
    def test_in_a_browser(html, width, tmp_path):
        seen = read_report(html, width, tmp_path)
        assert seen["faults"] == [] and seen["requests"] == []
        assert seen["orders"] == [["base", NAME, "kto"], [NAME, "kto", "base"], ["base", "kto", NAME]]
        assert seen["sorted"] == "descending" and seen["focused"]
        blurred, shown, again, with_all = seen["filters"]
        assert "blur" in blurred and shown == "none" and again == blurred and with_all == "none"
        assert seen["width"] == width and seen["content"] <= width
