"""A headless Chromium, where there is one, that loads a report, uses it, and says what it saw."""

import html as escaping
import json
import re
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--dump-dom"),
)
BEFORE = """<script>
const faults = [];
addEventListener("error", (event) => faults.push(event.message));
addEventListener("securitypolicyviolation", (event) => faults.push(event.blockedURI));
for (const level of ["error", "warn"]) console[level] = (...words) => faults.push(words.join(" "));
</script><style>* { transition: none !important; }</style>"""
USE = """const table = document.querySelector("table.axes");
const names = () => [...table.tBodies[0].rows].map((row) => row.querySelector(".name").textContent);
const heading = table.tHead.rows[1].cells[1];
const orders = [names()];
heading.querySelector("button").focus();
const focused = heading.contains(document.activeElement);
for (let i = 0; i < 2; i++) { document.activeElement.click(); orders.push(names()); }
const picture = document.querySelector(".row label img");
const filter = () => getComputedStyle(picture).filter;
const filters = [filter()];
for (let i = 0; i < 2; i++) { picture.click(); filters.push(filter()); }
picture.closest("section").querySelector(".show input").click();
filters.push(filter());
const used = { orders, filters, focused, sorted: heading.getAttribute("aria-sort") };"""
AFTER = """<script>
USE
parent.document.documentElement.dataset.seen = JSON.stringify({
  faults, ...used,
  requests: performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) => !/^data:/.test(name)),
  width: innerWidth,
  content: document.documentElement.scrollWidth,
});
</script>"""


def read_report(html: str, width: int, folder: Path, use: str = USE) -> dict:
    """What a reader with a window of this width sees and does; `html` is the page, `use` a script of what is done."""
    assert BROWSER is not None
    mark = '<meta charset="utf-8">'
    watched = html.replace(mark, mark + BEFORE, 1).replace("</body>", AFTER.replace("USE", use) + "</body>")
    # in a frame, because a browser's window may not be as narrow as a telephone
    frame = f'<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{escaping.escape(watched)}"></iframe>'
    page = folder / "page.html"
    page.write_text(f"<!doctype html><html><head>{mark}</head><body>{frame}</body></html>", encoding="utf-8")
    own = [f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000", page.as_uri()]
    found = subprocess.run([BROWSER, *FLAGS, *own], capture_output=True, text=True, timeout=600, check=True)
    (seen,) = re.findall(r'<html[^>]* data-seen="([^"]*)"', found.stdout)
    return json.loads(escaping.unescape(seen))
