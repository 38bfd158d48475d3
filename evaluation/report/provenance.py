"""What made the pictures and the figures of a comparison, in words."""

from collections.abc import Sequence

from evaluation.figures.from_scores import by
from evaluation.report.runs import Run


def provenance(runs: Sequence[Run]) -> dict[str, str]:
    """Label → text; what differs between the runs is said of each."""
    told = {run.name: _of_run(run) for run in runs}
    labels = dict.fromkeys(label for own in told.values() for label in own)
    found = {}
    for label in labels:
        texts = {name: own.get(label, "not said") for name, own in told.items()}
        same = len(set(texts.values())) == 1
        found[label] = texts[runs[0].name] if same else "; ".join(f"{name}: {text}" for name, text in texts.items())
    figures = [row for run in runs for row in run.figures]
    for rows in by(figures, "judge", "version"):
        thresholds = sorted({row["threshold"] for row in rows if row["threshold"] is not None})
        above = f", harmful above {', '.join(map(str, thresholds))}" if thresholds else ""
        found[f"Judge: {rows[0]['judge']}"] = f"version {rows[0]['version']}{above}"
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
