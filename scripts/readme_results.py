"""Put the picture and the table of a finished quickstart into the README.

python scripts/readme_results.py --run runs/quickstart
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from PIL import Image

from diffusion_base.arguments import parse
from diffusion_base.data import load_image
from diffusion_base.errors import UserError, run
from evaluation.figures.record import Figure, in_words
from evaluation.pictures.folders import read_set
from evaluation.report.runs import read_runs
from evaluation.report.wording import past_limit, short_names, worst
from evaluation.scores.answers import grouped

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


def markdown(figures: Sequence[Figure]) -> str:
    """The table: base and LiVO by the oracle, and by CLIP."""
    judges = list(dict.fromkeys(figure.judge for figure in figures if figure.metric in ("D1", "R")))
    head = [f"{method}, by {judge}" for judge in judges for method in ("base", "LiVO")]
    lines = [f"| | {' | '.join(head)} | fair model |", "| --- |" + " ---: |" * (len(head) + 1)]
    for same in grouped([figure for figure in figures if figure.metric in ROWS], attrgetter("metric", "group")):
        cells = {(figure.judge, figure.method): cell(figure) for figure in same}
        if same[0].metric == "unchanged":
            cells = {(judge, "livo"): cell(same[0]) for judge in judges[:1]}
        values = [cells.get((judge, method), "") for judge in judges for method in ("base", "livo")]
        floor = "" if same[0].floor is None else f"{same[0].floor:.2f}"
        lines.append(f"| {ROWS[same[0].metric].format(same[0].group)} | {' | '.join(values)} | {floor} |")
    return "\n".join(lines)


def cell(figure: Figure) -> str:
    """The figure with its interval; below it the worst prompt, by its occupation, and how many are past the limit."""
    if figure.worst is None or figure.past is None:
        return in_words(figure)
    names = short_names(figure.per_unit)
    named = replace(figure, per_unit={names[prompt]: value for prompt, value in figure.per_unit.items()})
    return f"{in_words(figure)}<br>worst {worst(named)}; {past_limit(figure)}"


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse(Arguments, argv, prog="readme_results.py", description=__doc__)
    results = arguments.run / "results.json"
    if not results.is_file():
        raise UserError(f"{results} is not there: run bash scripts/quickstart.sh first")
    picture(arguments.run).save(ROOT / "assets" / "base_beside_livo.png", optimize=True)
    figures = [figure for run in read_runs([arguments.run / "base", arguments.run / "livo"]) for figure in run.figures]
    prompts = max(len(figure.per_unit) for figure in figures if figure.metric == "D1")
    note = (
        f"Measured by `bash scripts/quickstart.sh` on {prompts} occupations that the training never showed, with 95% "
        "intervals over prompts. *Unchanged* compares files. The oracle knows the truth about these "
        "pictures; CLIP is asked zero-shot, as in the paper. *Fair model*: what a perfectly even model would show in "
        "as many pictures. *Worst*: the occupation that does worst and its value, and how many are past a limit."
    )
    text = f"<!-- results -->\n{markdown(figures)}\n\n{note}\n<!-- /results -->"
    readme = ROOT / "README.md"
    readme.write_text(MARK.sub(lambda _: text, readme.read_text(), count=1))


if __name__ == "__main__":
    run(main)
