"""What a run left on disk, read back: its figures, its pictures, its scores and what made them.

A run is the folder that was given as `--save_path`, of one method: imgs/<set>/, scores/<set>.jsonl, figures/*.json.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusion_base.errors import UserError
from diffusion_base.files import read_jsonl
from evaluation.scores.scoring import read_set

NEEDED = ("method", "metric", "group", "value", "low", "high", "floor", "n", "judge", "version", "threshold")


@dataclass(frozen=True)
class Run:
    """One method's figures, and the pictures and scores that they rest on."""

    folder: Path
    name: str
    """The method's: that of its figures, or the one the user gave it."""
    figures: list[dict]
    """Rows as `evaluation.figures.from_scores` has them, and `file`: the name of the figures' file, without .json."""
    pictures: dict[str, list[tuple[Path, dict]]]
    """Per set the files and their records."""
    scores: dict[str, list[dict]]
    """Per file of scores its rows."""
    made_by: dict[str, dict]
    """Per set its run.json."""


def read_runs(folders: Sequence[Path], names: Sequence[str] = ()) -> list[Run]:
    """The runs to compare, in their order.

    Raises:
        UserError: fewer than two, one of them twice or of the same name as another, or see `read_run`.
    """
    if len(folders) < 2:
        raise UserError("a comparison needs two runs at least: the folders that were given as --save_path")
    if names and len(names) != len(folders):
        raise UserError(f"--name needs one name for each of the {len(folders)} runs, not {len(names)}")
    places = [Path(folder).resolve() for folder in folders]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise UserError(f"{folders[i]} is there twice: a run compared with itself says nothing")
    runs = [read_run(Path(folder), *names[i : i + 1]) for i, folder in enumerate(folders)]
    for i, run in enumerate(runs):
        if other := next((other for other in runs[:i] if other.name == run.name), None):
            raise UserError(f"{other.folder} and {run.folder} are both called {run.name}: tell them apart with --name")
    return runs


def read_run(folder: Path, name: str | None = None) -> Run:
    """One run.

    Raises:
        UserError: no such folder, no figures in it, figures of several methods or of an earlier version, or a broken
            file (named).
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such run")
    figures = [row for file in sorted((folder / "figures").glob("*.json")) for row in _figures(file)]
    if not figures:
        raise UserError(f"{folder} holds no figures (figures/*.json): evaluate with --save_path {folder} first")
    methods = list(dict.fromkeys(row["method"] for row in figures))
    if len(methods) > 1:
        raise UserError(
            f"{folder} holds figures of several methods ({', '.join(methods)}): a run is of one; call it the same in "
            "every evaluation, with --method or --name, or give each method a --save_path of its own"
        )
    manifests = sorted((folder / "imgs").glob("*/manifest.jsonl"))
    sets = {file.parent.name: file.parent for file in manifests}
    return Run(
        folder=folder,
        name=name or methods[0],
        figures=[row | {"method": name or methods[0]} for row in figures],
        pictures={name: read_set(at, "images" if (at / "images").is_dir() else ".") for name, at in sets.items()},
        scores={file.stem: read_jsonl(file) for file in sorted((folder / "scores").glob("*.jsonl"))},
        made_by={name: _json(at / "run.json") for name, at in sets.items() if (at / "run.json").is_file()},
    )


def _figures(file: Path) -> list[dict]:
    rows = _json(file)
    if not (isinstance(rows, list) and all(isinstance(row, dict) and row.keys() >= set(NEEDED) for row in rows)):
        raise UserError(f"{file} is not a list of figures; delete it, and run its evaluation again")
    if any("per_prompt" not in row or "sample" not in row for row in rows):
        raise UserError(f"{file} does not say each prompt's share, as an earlier version wrote it: evaluate again")
    return [{"reference": None, "warning": None, "unit": "prompt"} | row | {"file": file.stem} for row in rows]


def _json(file: Path):
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: {' '.join(str(error).split())}") from None
