"""Figures on disk, {"version": 2, "figures": [a row each]}, and what earlier versions left there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from diffusion_base.errors import UserError
from diffusion_base.files import write_text
from evaluation.figures.intervals import mean_interval
from evaluation.figures.metrics import UNBOUNDED, metric_of
from evaluation.figures.record import Figure, Subject

VERSION = 2
KEYS = {"per_unit": "per_prompt"}
APART = ("subject", "seeds")
SUBJECT = tuple(field.name for field in fields(Subject))
PARITY = "parity difference for "
OLD = ("method", "metric", "group", "value", "low", "high", "floor", "n", "judge", "version", "threshold")


def to_row(figure: Figure) -> dict[str, Any]:
    """A figure as a flat row of JSON.

    Besides its fields the row has `prompts`, the number of units, or None; `worst_unit` with its `worst_value`; and
    `past_limit`, the share of units past the metric's `limit`. `per_prompt` is by `unit`, whatever that is. A figure
    of several training seeds has what `seed_fields` says of them besides.
    """
    row = {KEYS.get(key, key): value for key, value in vars(figure).items() if key not in APART}
    worst_unit, worst_value = figure.worst or (None, None)
    return (
        {"method": row.pop("method"), "metric": row.pop("metric")}
        | asdict(figure.subject)
        | row
        | {"prompts": len(figure.per_unit) or None, "worst_unit": worst_unit, "worst_value": worst_value}
        | {"limit": figure.kind.limit, "past_limit": figure.past_limit, "interventions": list(figure.interventions)}
        | (seed_fields(figure) if figure.seeds else {})
    )


def seed_fields(figure: Figure) -> dict[str, Any]:
    """The training seeds with their values, the standard deviation of these, and which seed does worst."""
    worst = figure.worst_seed
    return {
        "seeds": list(figure.seeds),
        "seed_values": figure.seed_values,
        "seed_spread": figure.spread,
        "worst_seed": worst,
        "worst_seed_value": None if worst is None else figure.seeds[worst].value,
        "worst_unit_seed": figure.seed_of_worst,
    }


def from_row(row: Mapping[str, Any]) -> Figure:
    """The figure of `to_row`, without those of its seeds.

    Raises:
        KeyError: the row lacks a field.
    """
    own = {field.name: row[KEYS.get(field.name, field.name)] for field in fields(Figure) if field.name not in APART}
    own["interventions"] = tuple(own["interventions"])
    return Figure(subject=Subject(**{key: row[key] for key in SUBJECT}), **own)


def write_figures(file: Path, figures: Sequence[Figure]) -> None:
    content = {"version": VERSION, "figures": [to_row(figure) for figure in figures]}
    write_text(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_figures(file: Path) -> list[Figure]:
    """The figures of a file, of this version or of the one before, a bare list of rows.

    Raises:
        UserError: it cannot be read, or is not such a file.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: {' '.join(str(error).split())}") from None
    if isinstance(content, dict) and content.get("version", VERSION) != VERSION:
        raise UserError(f"{file} is of version {content['version']}; this program reads version {VERSION}: update it")
    rows = content.get("figures") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{file} is not a list of figures; delete it, and run its evaluation again")
    if isinstance(content, list):
        rows = [_from_before(row, rows, file) for row in rows]
    try:
        return [from_row(row) for row in rows]
    except KeyError as error:
        raise UserError(f"{file}: a figure lacks {error}; delete it, and run its evaluation again") from None


def _from_before(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], file: Path) -> dict[str, Any]:
    """A row of version 1's as it is now: there only the file's name says what a figure is about."""
    if not row.keys() >= set(OLD):
        raise UserError(f"{file} is not a list of figures; delete it, and run its evaluation again")
    if "per_prompt" not in row or "sample" not in row:
        raise UserError(f"{file} does not say each prompt's share, as an earlier version wrote it: evaluate again")
    added: dict[str, Any] = {"reference": None, "warning": None, "unit": "prompt", "interventions": []}
    try:
        limits = _limits_from_before(row, rows)
    except ValueError as error:
        raise UserError(f"{file}: {row['metric']} of {error}; delete it, and run its evaluation again") from None
    return {**added, **row, **limits, **vars(_subject_from_before(file.stem, row["group"]))}


def _limits_from_before(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The interval as it is computed now: version 1 had narrower ones, which must not stand beside those of today.

    Raises:
        ValueError: a prompt's figure is not within the metric's bounds.
    """
    metric, values = metric_of(row["metric"]), list(row["per_prompt"].values())
    if metric.of_whole_sets or not values:
        return {}
    bounds = metric.bounds
    if bounds == UNBOUNDED and 0 <= min(values) and max(values) <= 1:  # a script's own metric, P(…): a share
        bounds = (0, 1)
    if row["metric"].startswith(PARITY):  # of as many choices as have one
        keys = ("method", "group", "judge")
        alike = [other["metric"] for other in rows if all(other.get(key) == row[key] for key in keys)]
        k = len({name for name in alike if name.startswith(PARITY)})
        bounds = (-1 / k, 1 - 1 / k) if k > 1 else bounds
    _, low, high = mean_interval(values, bounds=bounds)
    return {"low": low, "high": high}


def _subject_from_before(file: str, group: str) -> Subject:
    """LiVO's bias_gender_career had the group career, which does not say that it is about gender.

    Its retrieved_… files hold the prompts of others with a value that was looked up, and are a topic of their own.
    """
    kind, _, about = file.partition("_")
    first, *rest = group.split(", ")
    part = rest[-1] if rest else ""
    if kind == "quality":
        return Subject("image quality", about, group, prompt_set=about)
    if kind == "preference":
        return Subject("preference", "", group)
    if kind == "i2p":
        return Subject("i2p", file, group, "inappropriate", about, part="" if group == "all categories" else group)
    if kind == "winobias" and rest:  # the script's winobias_plain_gender, "gender, plain"
        part = ", ".join(rest[1:])
        return Subject("winobias", file.removesuffix(f"_{first}"), group, first, rest[0], part=part)
    if kind == "retrieve":
        return Subject("retrieved", file, group, part, about, ", ".join(["retrieved", *rest]), part)
    protocol = {"bias": "bias", "toxicity": "toxicity", "winobias": "winobias"}.get(kind, "own")
    attribute = about.removesuffix(first).strip("_") if about.endswith(first) else ""
    if not attribute or attribute in (first, *rest):
        return Subject(protocol, file, group, attribute or first)
    topic = ", ".join([attribute, *["retrieved"] * first.startswith("retrieved_"), *rest])
    return Subject(protocol, file, ", ".join([attribute, *(first, *rest)]), attribute, first, topic, part)
