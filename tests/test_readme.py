"""What the README prints works as printed."""

import re
from pathlib import Path

import pytest

from miniature.models import asset_folder

README = Path(__file__).parents[1] / "README.md"
PAGES = [path for pattern in ("*.md", "docs/*.md", "*/README.md") for path in sorted(README.parent.glob(pattern))]


def test_the_notebook_lines_work_as_printed(monkeypatch):
    """The base's own text encoder stands in for a trained value encoder: the folder has the same form."""
    (snippet,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    monkeypatch.chdir(README.parent)
    names: dict = {}
    exec(snippet.replace("runs/quickstart/livo", str(asset_folder() / "text_encoder")), names)
    assert [image.size for image in names["images"]] == [(64, 64)] * 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(README.parent)))
def test_every_link_and_file_is_there(page):
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", text):
        assert (page.parent / target).exists(), target
    for script in re.findall(r"(?:bash|python|launch) ([\w./]+\.(?:sh|py))", text):
        assert (README.parent / script).is_file(), script
