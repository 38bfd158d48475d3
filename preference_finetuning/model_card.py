"""The model card of exported weights: base, data, objective, settings, figures with intervals, how to load them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCardData
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx

from diffusion_base.errors import UserError
from diffusion_base.weights.locating import HUB_NAME
from diffusion_base.weights.writing import LORA_FILE

HUB = "https://huggingface.co"
DATA = ("dataset_name", "train_data_dir")
SHOWN_APART = {*DATA, "pretrained_model_name_or_path", "objective", "output_dir", "logging_dir", "cache_dir"}


@dataclass(frozen=True)
class Facts:
    """What the card says of the files.

    Attributes:
        base: the base that they are for, by name or path.
        pipeline_class, denoiser_class: of diffusers.
        where: the folder or repository.
        opened: the file or folder in it.
        layout: diffusers, kohya or single_file.
        strength: of the weights.
        on_hub: whether `where` is a repository.
    """

    base: str
    pipeline_class: str
    denoiser_class: str
    where: str
    opened: str
    layout: str
    strength: float
    on_hub: bool

    @property
    def address(self) -> str:
        """Of the file: its path, or on the hub its page, which diffusers takes too."""
        return f"{self.where}/{self.opened}" if not self.on_hub else f"{HUB}/{self.where}/blob/main/{self.opened}"

    @property
    def is_lora(self) -> bool:
        return self.layout == "kohya" or self.opened == LORA_FILE


def model_card(weights: Path, facts: Facts, results: Path | None) -> str:
    """The README.md of a folder of exported weights.

    Args:
        weights: a run's folder, whose training.json says how they came about; of others nothing is known.
        results: figures, as the quickstart's results.json has them; None shows none.

    Raises:
        UserError: one of the two is damaged.
    """
    on_hub = HUB_NAME.fullmatch(facts.base) and not Path(facts.base).exists()
    data = ModelCardData(
        base_model=facts.base if on_hub else None,
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=["preference-fine-tuning", "t2i-align", *(["lora"] if facts.is_lora else [])],
    )
    title = Path(facts.where).name
    text = f"---\n{data.to_yaml()}\n---\n\n# {title}\n\nWeights for {_shown(facts.base)}, exported from {weights.name}"
    training = _read(weights / "training.json") if (weights / "training.json").is_file() else None
    if training:
        text += f", fine-tuned on what people like and dislike ({training['arguments'].get('objective', 'unknown')})"
    text += "" if facts.strength == 1 else f", at {facts.strength:g} of their strength"
    text += f".\n\n## Load it\n\n```python\n{snippet(facts)}\n```\n\n"
    text += f"With t2i-align, on a command line: `--intervention preference_finetuning:{facts.where}`.\n"
    if training:
        text += f"\n## How it was trained\n\n{training_table(training)}\n"
    if results:
        text += f"\n## Figures\n\n{figures_table(_read(results), results)}\n"
    return text


def snippet(facts: Facts) -> str:
    """Three lines that load it."""
    base, where, opened = json.dumps(facts.base), json.dumps(facts.where), json.dumps(facts.opened)
    if facts.layout == "single_file":
        return (
            f"from diffusers import {facts.pipeline_class}\n\n"
            f"file = {json.dumps(facts.address)}\n"
            f"pipeline = {facts.pipeline_class}.from_single_file(file, config={base})"
        )
    if facts.is_lora:
        return (
            "from diffusers import DiffusionPipeline\n\n"
            f"pipeline = DiffusionPipeline.from_pretrained({base})\n"
            f"pipeline.load_lora_weights({where}, weight_name={opened})"
        )
    return (
        f"from diffusers import DiffusionPipeline, {facts.denoiser_class}\n\n"
        f"{facts.opened} = {facts.denoiser_class}.from_pretrained({where}, subfolder={opened})\n"
        f"pipeline = DiffusionPipeline.from_pretrained({base}, {facts.opened}={facts.opened})"
    )


def training_table(training: Mapping[str, Any]) -> str:
    """Base, data, objective, length, and all other settings."""
    arguments = training["arguments"]
    data = next((arguments[name] for name in DATA if arguments.get(name)), "unknown")
    rows = {
        "base": f"{_shown(arguments.get('pretrained_model_name_or_path', 'unknown'))}, weights {training['base_hash']}",
        "data": f"{_shown(data)}, {training['data_size']} samples, contents {training['data']}",
        "objective": arguments.get("objective", "unknown"),
        "steps": f"{training.get('finished_steps', 'unfinished')} of {training['samples_per_step']} samples",
    }
    rows |= {
        name: _shown(value)
        for name, value in arguments.items()
        if name not in SHOWN_APART and value not in (None, "", [], False)
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def figures_table(results: Any, source: Path) -> str:
    """A row a metric, what it is of and who judged; a column a method; each figure with its 95% interval.

    Raises:
        UserError: no figures.
    """
    figures = results["figures"] if isinstance(results, dict) and "figures" in results else results
    methods: dict[str, None] = {}
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    try:
        for figure in figures:
            methods[figure["method"]] = None
            row = rows.setdefault((figure["metric"], figure["group"], figure["judge"]), {})
            row[figure["method"]] = f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"--results {source} holds no figures such as a report's results.json ({error!r})") from None
    lines = [
        f"| metric | of | judge | {' | '.join(methods)} |",
        f"| --- | --- | --- |{' ---: |' * len(methods)}",
        *(f"| {' | '.join([*row, *(cells.get(method, '') for method in methods)])} |" for row, cells in rows.items()),
    ]
    return "\n".join(lines) + "\n\nWith 95% intervals."


def upload(folder: Path, repository: str) -> str:
    """Put the folder on the hub; returns its address.

    Raises:
        UserError: not logged in, no such owner, no connection.
    """
    api = HfApi()
    try:
        address = api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=address.repo_id, folder_path=folder)
    except (httpx.HTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"--push_to_hub: {folder} is written, but can't be uploaded to {repository} ({reason}): log in by "
            "`hf auth login`, then `hf upload` it"
        ) from None
    return str(address)


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: {' '.join(str(error).split())}") from None


def _shown(value: Any) -> str:
    """A setting for people; of a path on this machine its name alone."""
    text = str(value)
    return Path(text).name if isinstance(value, str) and Path(text).exists() else text
