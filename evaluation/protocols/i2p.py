"""The I2P benchmark's file and figures: prompts that invite inappropriate pictures, each in one or more categories.

Source: Schramowski et al., "Safe Latent Diffusion" (CVPR 2023), who made it of 4,703 prompts in 7 categories; the
judges and the single picture a prompt are those of Li et al. (CVPR 2024).
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path

from diffusion_base.errors import UserError
from evaluation.figures.formulas import toxic_ratio
from evaluation.figures.from_scores import of_judge
from evaluation.figures.record import Figure, Subject, mean_figure
from evaluation.protocols.plans import Measure, Plan
from evaluation.scores.answers import grouped
from evaluation.scores.questions import HarmQuestion

NEEDED = ("prompt", "categories")
ALL = "all categories"


def read_i2p(file: Path) -> list[dict]:
    """The rows of I2P's CSV: {"prompt", "categories": a list}, and "sd_seed" where the file has one.

    Other columns are passed over, `sd_guidance_scale` too: as in Li et al., all pictures have one guidance scale.

    Raises:
        UserError: no such file, not UTF-8, a column or all rows are missing, or a row is wrong; names the line.
    """
    reader = csv.DictReader(io.StringIO(_text(file), newline=""))
    rows = []
    try:
        columns = reader.fieldnames or ()
        if missing := [column for column in NEEDED if column not in columns]:
            known = ", ".join(columns) or "none"
            raise UserError(f"{file}, line 1: the column {missing[0]!r} is missing; the columns are {known}")
        for cells in reader:
            rows.append(_row(cells, f"{file}, line {reader.line_num}"))
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.reader.line_num}: not CSV ({error})") from None
    if not rows:
        raise UserError(f"{file} holds no prompts")
    return rows


def _row(cells: dict, where: str) -> dict:
    if None in cells:
        raise UserError(f"{where}: more cells than columns; a prompt with a comma must stand in quotation marks")
    if empty := [column for column in NEEDED if not (cells[column] or "").strip()]:
        raise UserError(f"{where}: the {empty[0]} cell is empty")
    categories = [category.strip() for category in cells["categories"].split(",")]
    row = {"prompt": cells["prompt"], "categories": list(dict.fromkeys(filter(None, categories)))}
    if not row["categories"]:
        raise UserError(f"{where}: the categories cell is empty")
    if ALL in row["categories"]:
        raise UserError(f"{where}: {ALL!r} is what the overall figure is called; name the category otherwise")
    if seed := (cells.get("sd_seed") or "").strip():
        if not seed.isdecimal() or len(seed) > 18:
            raise UserError(f"{where}: the sd_seed {seed!r} is no seed, a whole number of 18 digits at most")
        row["sd_seed"] = int(seed)
    return row


def _text(file: Path) -> str:
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise UserError(f"--i2p_csv {file} cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")  # spreadsheets put a mark in front
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}, line {line}: not UTF-8 text; save the file as UTF-8") from None


def i2p_plan(name: str, rows: Sequence[dict], harm: str, value: str | None) -> Plan:
    """The pictures of a file's prompts, and the inappropriate rate.

    Args:
        harm: what the judges are asked about.
    """
    measure = Measure([HarmQuestion(harm)], inappropriate_figures, prompt_results)
    return Plan(Subject("i2p", f"i2p_{name}", ALL, harm, name), [measure], rows, value)


def inappropriate_figures(rows: Sequence[dict], *, method: str, subject: Subject) -> list[Figure]:
    """R, the inappropriate rate, of each category and of all prompts, by each judge, from rows of a `HarmQuestion`."""
    figures = []
    for judge_rows in grouped(rows, of_judge):
        of_prompt = partial(_inappropriate, judge_rows[0]["threshold"])
        for category in sorted({category for row in judge_rows for category in row["categories"]}):
            own = [row for row in judge_rows if category in row["categories"]]
            about = replace(subject, group=category, topic=category, part=category)
            figures.append(mean_figure(own, "R", of_prompt, method=method, subject=about))
        figures.append(mean_figure(judge_rows, "R", of_prompt, method=method, subject=subject))
    return figures


def _inappropriate(threshold: float, rows: Sequence[dict]) -> float:
    return float(toxic_ratio([row["score"] for row in rows], threshold))


def prompt_results(rows: Sequence[dict]) -> list[dict]:
    """A row a prompt, by one judge."""
    return [
        {
            "prompt": pictures[0]["prompt"],
            "categories": pictures[0]["categories"],
            "inappropriate_rate": _inappropriate(pictures[0]["threshold"], pictures),
            "scores": [row["score"] for row in pictures],
            "judge": f"{pictures[0]['judge']} {pictures[0]['version']}",
        }
        for pictures in grouped(rows, itemgetter("prompt_index"))
    ]
