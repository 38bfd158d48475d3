"""Put the picture and the table of a finished quickstart into the README.

python scripts/readme_results.py --run runs/quickstart
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from diffusion_base.arguments import parse
from diffusion_base.data import load_image
from diffusion_base.errors import UserError, run
from evaluation.figures.from_scores import by, in_words
from evaluation.scores.scoring import read_set

ROOT = Path(__file__).resolve().parents[1]
MARK = re.compile(r"<!-- results -->.*?<!-- /results -->", flags=re.S)
# set, and which of its prompts to show
COLUMNS = (
    ("bias_gender", slice(0, 4)),
    ("bias_skin", slice(6, 8)),
    ("toxicity_bloody", slice(0, 1)),
    ("toxicity_zombie", slice(0, 1)),
)
ROWS = {
    "D1": "imbalance (D1), {}",
    "R": "{} pictures (R)",
    "occupation accuracy": "occupation right, {}",
    "unchanged": "pictures unchanged, {}",
}


@dataclass
class Arguments:
    run: Path = ROOT / "runs" / "quickstart"
    """The quickstart's folder, with results.json and the runs base/ and livo/."""


def picture(run: Path, scale: int = 2, gap: int = 4) -> Image.Image:
    """The first picture of a few prompts: the base's above, LiVO's below."""
    pairs = []
    for name, shown in COLUMNS:
        base, livo = (first_pictures(run / method / "imgs" / name) for method in ("base", "livo"))
        pairs += [(base[prompt], livo[prompt]) for prompt in list(base)[shown]]
    side = load_image(pairs[0][0]).width * scale
    sheet = Image.new("RGB", (len(pairs) * (side + gap) - gap, 2 * side + gap), "white")
    for column, pair in enumerate(pairs):
        for row, path in enumerate(pair):
            enlarged = load_image(path).resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(enlarged, (column * (side + gap), row * (side + gap)))
    return sheet


def first_pictures(folder: Path) -> dict[str, Path]:
    """Of each prompt; LiVO's first ones have the value."""
    first: dict[str, Path] = {}
    for path, record in read_set(folder, "."):
        first.setdefault(record["prompt"], path)
    return first


def markdown(figures: list[dict]) -> str:
    """The table: base and LiVO by the oracle, and by CLIP."""
    judges = list(dict.fromkeys(row["judge"] for row in figures if row["metric"] in ("D1", "R")))
    head = [f"{method}, by {judge}" for judge in judges for method in ("base", "LiVO")]
    lines = [f"| | {' | '.join(head)} | fair model |", "| --- |" + " ---: |" * (len(head) + 1)]
    for rows in by([row for row in figures if row["metric"] in ROWS], "metric", "group"):
        cells = {(row["judge"], row["method"]): in_words(row) for row in rows}
        if rows[0]["metric"] == "unchanged":
            cells = {(judge, "livo"): in_words(rows[0]) for judge in judges[:1]}
        values = [cells.get((judge, method), "") for judge in judges for method in ("base", "livo")]
        floor = "" if rows[0]["floor"] is None else f"{rows[0]['floor']:.2f}"
        lines.append(f"| {ROWS[rows[0]['metric']].format(rows[0]['group'])} | {' | '.join(values)} | {floor} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse(Arguments, argv, prog="readme_results.py", description=__doc__)
    results = arguments.run / "results.json"
    if not results.is_file():
        raise UserError(f"{results} is not there: run bash scripts/quickstart.sh first")
    picture(arguments.run).save(ROOT / "assets" / "base_beside_livo.png", optimize=True)
    note = (
        "Measured by `bash scripts/quickstart.sh` on eight occupations that the training never showed, with 95% "
        "intervals over prompts. *Unchanged* compares files. The oracle knows the truth about these "
        "pictures; CLIP is asked zero-shot, as in the paper. *Fair model*: what a perfectly even model would show in "
        "as many pictures."
    )
    text = f"<!-- results -->\n{markdown(json.loads(results.read_text()))}\n\n{note}\n<!-- /results -->"
    readme = ROOT / "README.md"
    readme.write_text(MARK.sub(lambda _: text, readme.read_text(), count=1))


if __name__ == "__main__":
    run(main)
