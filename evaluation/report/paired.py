"""Figures of several methods side by side: each compared with the first method's, prompt by prompt.

A row of a comparison is the row of a figure, and `measured_on`, `topic` (the same without the prompt file),
`difference` to the first method with `difference_low` and `difference_high`, `probability` (that the method is better
than the first; of a metric without a better side, that it is higher), and `verdict`: better, worse or differs where the
difference is significant, "" where it is not, None where there is nothing to compare with.
"""

from collections.abc import Sequence
from pathlib import Path

from diffusion_base.errors import UserError
from evaluation.figures.from_scores import by
from evaluation.figures.intervals import Difference, paired_difference
from evaluation.figures.metrics import EVEN, bounds, direction, is_signed
from evaluation.report.runs import Run

COMPARED = ("difference", "difference_low", "difference_high", "probability", "verdict")
KEY = ("metric", "measured_on", "judge")


def compare_runs(runs: Sequence[Run]) -> list[dict]:
    """The rows of all methods, those of one metric, group and judge together, in the order of the first run.

    Raises:
        UserError: two runs' figures are of other prompts, seeds or judges.
    """
    return [row for same in by(figures_of(runs), *KEY) for row in with_the_first(same, runs[0].name)]


def figures_of(runs: Sequence[Run]) -> list[dict]:
    """The figures of all runs, each with what it was measured on."""
    rows = [row | named(row) for run in runs for row in run.figures]
    # where two files of a run measure the same, on other pictures, the file's name tells them apart
    several = [same[0] for same in by(rows, *KEY, "method") if len(same) > 1]
    unclear = {tuple(row[key] for key in KEY) for row in several}
    for row in rows:
        if tuple(row[key] for key in KEY) in unclear:
            row["measured_on"] = row["file"].replace("_", " ")
    return rows


def named(row: dict) -> dict[str, str]:
    """`measured_on` and `topic` of a figure, from its file and group.

    LiVO's bias_gender_career has the group career, which does not say that it is about gender. Its retrieved_… files
    hold the prompts of others with a value that was looked up, and are a topic of their own.
    """
    first, *rest = row["group"].split(", ")
    about = row["file"].partition("_")[2]
    about = about.removesuffix(first).strip("_") if about.endswith(first) else ""
    if not about or about in (first, *rest):
        measured_on = topic = row["group"]
        if row["file"].startswith("retrieve_"):
            topic = ", ".join(["retrieved", *rest])
    else:
        looked_up = ["retrieved"] * first.startswith("retrieved_")
        measured_on, topic = ", ".join([about, first, *rest]), ", ".join([about, *looked_up, *rest])
    return {"measured_on": measured_on.replace("_", " "), "topic": topic.replace("_", " ")}


def with_the_first(rows: Sequence[dict], first_name: str) -> list[dict]:
    """Rows of one metric, group and judge, a method each, compared with the first method's."""
    first = next((row for row in rows if row["method"] == first_name), None)
    return [compared(row, None if row is first else first, first_name) for row in rows]


def compared(row: dict, first: dict | None, first_name: str) -> dict:
    """The row of a comparison, of a figure and the first method's.

    Args:
        first: None where the first method has no such figure, or is the one.

    Raises:
        UserError: they are not of the same prompts, seeds, judge or reference.
    """
    found = None
    if first is not None and row["per_prompt"]:
        check_pair(row, first)
        prompts = list(first["per_prompt"])
        ours, theirs = ([of["per_prompt"][prompt] for prompt in prompts] for of in (row, first))
        found = paired_difference(ours, theirs, bounds=bounds(row["metric"]))
    elif row["metric"] in EVEN and row["group"] == f"against {first_name}":
        ours = list(row["per_prompt"].values())
        found = paired_difference(ours, [EVEN[row["metric"]]] * len(ours), bounds=bounds(row["metric"]))
    if found is None:
        return row | dict.fromkeys(COMPARED)
    way = direction(row if first is None else first)
    return row | {
        "difference": found.value,
        "difference_low": found.low,
        "difference_high": found.high,
        "probability": 1 - found.probability if way == -1 else found.probability,
        "verdict": verdict(found, way, row, first),
    }


def verdict(found: Difference, way: int | None, row: dict, first: dict | None) -> str:
    if not found.significant:
        return ""
    if way is None:
        return "differs"
    if first is not None and is_signed(row["metric"]):  # past 0 it may be further off than it was
        return "better" if abs(row["value"]) < abs(first["value"]) else "worse"
    return "better" if found.value * way > 0 else "worse"


def check_pair(row: dict, first: dict) -> None:
    """Refuse to compare what was not measured alike.

    Raises:
        UserError
    """
    what = f"{row['metric']} on {row.get('measured_on', row['group'])}"
    both = f"{first['method']} and {row['method']}"
    for key in ("version", "threshold"):
        if row[key] != first[key]:
            raise UserError(
                f"{what}: {both} were judged by {row['judge']} of another {key} ({first[key]} and {row[key]}); "
                "score both with the same judge"
            )
    if different := sorted(row["per_prompt"].keys() ^ first["per_prompt"].keys()):
        having = row["method"] if different[0] in row["per_prompt"] else first["method"]
        raise UserError(
            f"{what}: the prompts of {both} differ, only {having} has {different[0]!r}; evaluate both on the same file"
        )
    if row["sample"] != first["sample"]:
        raise UserError(
            f"{what}: {both} have the same prompts but other seeds or another number of pictures; generate both with "
            "the same --seed and --images_per_prompt"
        )
    references = [Path(of["reference"]).resolve() for of in (first, row) if of["reference"]]
    if len(set(references)) > 1:
        raise UserError(
            f"{what}: {first['method']} was compared with the pictures of {references[0]}, {row['method']} with those "
            f"of {references[1]}; name the same --ref_image_paths for both"
        )
