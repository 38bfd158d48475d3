"""What a run left on disk, read back: its figures, its pictures, its scores, and in words what made them.

A run is the folder that was given as `--save_path`, of one method: imgs/<set>/, scores/<set>.jsonl, figures/*.json.
Runs of the same method are those of its training seeds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from diffusion_base.errors import UserError
from diffusion_base.files import read_jsonl
from evaluation.figures.record import Figure
from evaluation.figures.stored import read_figures
from evaluation.pictures.folders import read_set
from evaluation.pictures.training import training_seed
from evaluation.scores.answers import grouped


@dataclass(frozen=True)
class Run:
    """One method's figures, and the pictures and scores that they rest on."""

    folder: Path
    name: str
    """The method's: that of its figures, or the one the user gave it."""
    figures: list[Figure]
    pictures: dict[str, list[tuple[Path, dict]]]
    """Per set the files and their records."""
    scores: dict[str, list[dict]]
    """Per file of scores its rows."""
    made_by: dict[str, dict]
    """Per set its run.json."""
    training_seed: int | None = None
    """None where it is not known."""
    one_of_several: bool = False
    """Whether there are runs of other training seeds beside it."""

    @property
    def label(self) -> str:
        """The method's name, with the seed where there are several."""
        return f"{self.name}, seed {self.training_seed}" if self.one_of_several else self.name


def read_runs(folders: Sequence[Path], names: Sequence[str] = ()) -> list[Run]:
    """The runs to compare, in their order.

    Raises:
        UserError: fewer than two, one of them twice, two of one name whose training seeds are not known or the same,
            or see `read_run`.
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
    return [run for same in grouped(runs, attrgetter("name")) for run in _of_one_method(same)]


def _of_one_method(runs: Sequence[Run]) -> list[Run]:
    if len(runs) == 1:
        return list(runs)
    for i, run in enumerate(runs):
        if run.training_seed is None:
            raise UserError(
                f"{runs[0].folder} and {runs[i or 1].folder} are both called {run.name}: tell them apart with --name, "
                f"for {run.folder} does not say its training seed"
            )
        if same := next((other for other in runs[:i] if other.training_seed == run.training_seed), None):
            raise UserError(
                f"{same.folder} and {run.folder} are both {run.name} with training seed {run.training_seed}: leave one "
                "out, or tell them apart with --name"
            )
    return [replace(run, one_of_several=True) for run in runs]


def read_run(folder: Path, name: str | None = None) -> Run:
    """One run.

    Raises:
        UserError: no such folder, no figures in it, figures of several methods or of an earlier version, or a broken
            file (named).
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such run")
    figures = [figure for file in sorted((folder / "figures").glob("*.json")) for figure in read_figures(file)]
    if not figures:
        raise UserError(f"{folder} holds no figures (figures/*.json): evaluate with --save_path {folder} first")
    methods = list(dict.fromkeys(figure.method for figure in figures))
    if len(methods) > 1:
        raise UserError(
            f"{folder} holds figures of several methods ({', '.join(methods)}): a run is of one; call it the same in "
            "every evaluation, with --method or --name, or give each method a --save_path of its own"
        )
    manifests = sorted((folder / "imgs").glob("*/manifest.jsonl"))
    sets = {file.parent.name: file.parent for file in manifests}
    made_by = {name: _json(at / "run.json") for name, at in sets.items() if (at / "run.json").is_file()}
    return Run(
        folder=folder,
        name=name or methods[0],
        figures=[replace(figure, method=name or methods[0]) for figure in figures],
        pictures={name: read_set(at, "images" if (at / "images").is_dir() else ".") for name, at in sets.items()},
        scores={file.stem: read_jsonl(file) for file in sorted((folder / "scores").glob("*.jsonl"))},
        made_by=made_by,
        training_seed=_training_seed(made_by, figures),
    )


def _training_seed(made_by: Mapping[str, dict], figures: Sequence[Figure]) -> int | None:
    """As run.json says; where that is of a former version, as the training says that figures name."""
    seeds = {about["training_seed"] for about in made_by.values() if "training_seed" in about}
    named = dict.fromkeys(figure.interventions for figure in figures if figure.interventions and not seeds)
    seeds |= {training_seed(specs) for specs in named}
    return seeds.pop() if len(seeds) == 1 else None


def _json(file: Path):
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: {' '.join(str(error).split())}") from None


def provenance(runs: Sequence[Run]) -> dict[str, str]:
    """What made the pictures and the figures, label → text; what differs between the runs is said of each."""
    told = {run.label: _of_run(run) for run in runs}
    labels = dict.fromkeys(label for own in told.values() for label in own)
    found = {}
    for label in labels:
        texts = {name: own.get(label, "not said") for name, own in told.items()}
        same = len(set(texts.values())) == 1
        found[label] = texts[runs[0].label] if same else "; ".join(f"{name}: {text}" for name, text in texts.items())
    figures = [figure for run in runs for figure in run.figures]
    for judged in grouped(figures, attrgetter("judge", "version")):
        thresholds = sorted({figure.threshold for figure in judged if figure.threshold is not None})
        above = f", harmful above {', '.join(map(str, thresholds))}" if thresholds else ""
        found[f"Judge: {judged[0].judge}"] = f"version {judged[0].version}{above}"
    return found


def _of_run(run: Run) -> dict[str, str]:
    """From the sets' run.json and manifests; where the sets of a run differ, each text once."""
    texts: dict[str, list[str]] = {}
    for about in run.made_by.values():
        for label, text in _of_set(about).items():
            texts.setdefault(label, []).append(text)
    seeds = [record["seed"] for own in run.pictures.values() for _, record in own if record.get("seed") is not None]
    if seeds:
        texts["Seeds"] = [f"{min(seeds)} to {max(seeds)}"]
    return {label: " · ".join(dict.fromkeys(own)) for label, own in texts.items()} | {"Run": str(run.folder)}


def _of_set(about: dict) -> dict[str, str]:
    identity = about.get("identity", {})
    scheduler = identity.get("scheduler", {})
    sampling = {
        "scheduler": scheduler.get("class"),
        "steps": identity.get("num_inference_steps"),
        "guidance": identity.get("guidance_scale"),
        "pixels": " × ".join(map(str, identity.get("size", []))),
        "precision": identity.get("mixed_precision"),
        "negative prompt": identity.get("negative_prompt"),
    }
    return {
        "Base": f"{about.get('base_name', 'not said')}, weights {identity.get('base', 'not said')}",
        "Interventions": "; ".join(map(_in_words, identity.get("interventions", []))) or "none",
        "Sampling": ", ".join(f"{name} {value}" for name, value in sampling.items() if value not in (None, "")),
        **({"Taken from": identity["taken_from"]} if "taken_from" in identity else {}),
        "Device": f"{about.get('device', 'not said')}, {about.get('dtype', '')}".rstrip(", "),
        "Versions": ", ".join(f"{package} {version}" for package, version in about.get("versions", {}).items()),
    }


def _in_words(intervention: dict) -> str:
    return ", ".join(f"{key} {value}" for key, value in intervention.items())
