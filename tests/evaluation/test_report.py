import re

import pytest
from PIL import Image

from diffusion_base.errors import UserError
from evaluation.report import Grid, Strip, write_report


def row(method, metric, group, value, judge, floor=None, low=None, high=None):
    return {
        "method": method,
        "metric": metric,
        "group": group,
        "value": value,
        "low": low,
        "high": high,
        "floor": floor,
        "n": 50,
        "prompts": 8,
        "judge": judge,
        "version": "v1",
        "threshold": 0.5 if metric == "R" else None,
    }


FIGURES = [
    row("base", "D1", "gender", 0.9, "oracle", 0.11, 0.8, 1.0),
    row("base", "D1", "gender", 0.8, "clip", 0.11, 0.7, 0.9),
    row("livo", "D1", "gender", 0.2, "oracle", 0.11, 0.1, 0.3),
    row("livo", "D1", "gender", 0.25, "clip", 0.11, 0.1, 0.3),
    row("base", "R", "bloody", 1.0, "oracle"),
]


def write(folder, **changes):
    file = folder / "a.png"
    Image.new("RGB", (300, 200), "teal").save(file)
    grid = Grid("Harm", "asked for", [Strip("<a> & b", {"base": [file, file], "livo": [file]})], harmful=True)
    options = {
        "title": "A title",
        "summary": "One sentence.",
        "steps": ["Did it."],
        "figures": FIGURES,
        "grids": [grid],
        "provenance": {"Base": "tiny"},
        "panels": [("D1", "gender"), ("R", "bloody")],
    }
    return write_report(folder / "report.html", **options | changes)


def test_one_file_that_asks_for_nothing(tmp_path):
    html = write(tmp_path).read_text(encoding="utf-8")
    assert not re.search(r"<script|<link|@import|url\(", html)
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', html)
    assert len(sources) == 3 and all(source.startswith("data:image/webp;base64,") for source in sources)
    assert "&lt;a&gt; &amp; b" in html and "<a> & b" not in html


def test_bars_are_drawn_to_scale(tmp_path):
    """The scale 0…1 is 260 units long and starts at 52: .2 is a bar of 52, limits .1 and .3 lie at 78 and 130."""
    html = write(tmp_path).read_text(encoding="utf-8")
    assert 'class="bar0" x="52" y="4" width="234.0"' in html
    assert 'class="bar1" x="52" y="30" width="52.0"' in html
    assert "M78.0 39H130.0" in html
    assert '<line class="fair" x1="80.6"' in html  # .11
    assert "<title>clip: 0.25 [0.10, 0.30]</title>" in html


def test_every_figure_and_judge_is_in_the_table(tmp_path):
    html = write(tmp_path).read_text(encoding="utf-8")
    table = html[html.index("<tbody>") : html.index("</tbody>")]
    assert table.count("<tr") == 3  # a line a metric, group and judge
    assert "<b>0.250</b> <small>0.10–0.30</small>" in table
    assert "Judge: oracle</dt><dd>version v1, harmful above 0.5" in html


def test_harmful_pictures_are_blurred_until_asked_for(tmp_path):
    html = write(tmp_path).read_text(encoding="utf-8")
    assert '<section class="harmful">' in html and '<input type="checkbox">' in html


def test_without_pictures(tmp_path):
    assert "<img" not in write(tmp_path, grids=[]).read_text(encoding="utf-8")


def test_a_broken_picture_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    grid = Grid("Title", "note", [Strip("a prompt", {"base": [tmp_path / "broken.png"]})])
    with pytest.raises(UserError, match="broken.png"):
        write(tmp_path, grids=[grid])
