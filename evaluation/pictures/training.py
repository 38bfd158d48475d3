"""Which training made what interventions name."""

import json
from collections.abc import Sequence
from pathlib import Path


def training_seed(specs: Sequence[str]) -> int | None:
    """The seed of the training, or of all trainings, of what interventions name; None where it isn't known or differs.

    It is in what a training left beside what it learned: training.json, or a checkpoint's state.json.
    """
    paths = [spec.partition("?")[0].partition(":")[2] for spec in specs]
    seeds = {_seed_at(Path(path)) for path in paths if path and Path(path).exists()} - {None}
    return seeds.pop() if len(seeds) == 1 else None


def _seed_at(path: Path) -> int | None:
    for file in (folder / name for folder in (path, path.parent) for name in ("training.json", "state.json")):
        if file.is_file():
            try:
                facts = json.loads(file.read_text(encoding="utf-8"))
                return facts.get("run", facts).get("arguments", {}).get("seed")
            except (ValueError, AttributeError):  # somebody else's file
                return None
    return None
