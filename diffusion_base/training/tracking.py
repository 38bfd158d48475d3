"""What a run shows of itself: means of its figures, and pictures, in a tracker and on disk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from diffusion_base.training.arguments import TrainingArguments

Validate: TypeAlias = Callable[[Path, int], dict[str, list[Image.Image]] | None]
"""Given a run's folder for pictures and the step, makes pictures by name."""
NEVER = torch.iinfo(torch.int64).max


class RunningMeans:
    """Means of per-sample figures since the last reading, and the first step at which a loss was not finite.

    A figure that is NaN for a sample is not of that sample: its mean is over the others.
    Everything stays on the device until it is read; reading is a meeting of all processes.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.bad_step = torch.tensor(NEVER, device=accelerator.device)
        self.sums: dict[str, Tensor] = {}  # of the samples that have the figure, and their number: (2,)

    def add(self, step: int, values: dict[str, Tensor]) -> None:
        """Take in a batch's figures, (B,) each, under names that stay the same; "loss" must be finite."""
        for name, value in values.items():
            of_samples = torch.stack([value.float().nansum(), (~value.isnan()).sum().float()])
            self.sums[name] = self.sums[name] + of_samples if name in self.sums else of_samples
        self.require_finite(step, values["loss"])

    def require_finite(self, step: int, value: Tensor) -> None:
        """Note the step if a value is NaN or infinite."""
        bad = torch.where(torch.isfinite(value).all(), NEVER, step)
        self.bad_step = torch.minimum(self.bad_step, bad)

    def first_bad_step(self) -> int | None:
        """The first step, of any process, with something that is not finite."""
        step = int(self.accelerator.gather(self.bad_step.view(1)).min())
        return None if step == NEVER else step

    def read(self) -> dict[str, float]:
        """The means over all processes, in one transfer; then begin anew. A figure of no sample is left out."""
        sums = self.accelerator.reduce(torch.stack(list(self.sums.values())), reduction="sum").tolist()
        means = {name: total / count for name, (total, count) in zip(self.sums, sums, strict=True) if count}
        self.sums = {}
        return means


def start_trackers(accelerator: Accelerator, arguments: TrainingArguments, resolved: dict[str, Any], step: int) -> None:
    """Begin or continue the tracker's run; entries after `step`, of a future that was killed, are hidden."""
    if arguments.tracker is None:
        return
    config = {key: value if isinstance(value, int | float | str) else str(value) for key, value in resolved.items()}
    name = arguments.name or Path(arguments.output_dir).resolve().name
    accelerator.init_trackers(
        arguments.logging_dir if arguments.tracker == "tensorboard" else arguments.tracker_project_name,
        config=config,
        init_kwargs={
            "tensorboard": {"purge_step": step + 1},
            "wandb": {"dir": arguments.output_dir, "name": name},
        },
    )


def read_history(output_dir: Path) -> list[dict[str, float]]:
    """A run's log entries, {"step": …, "loss": …, …} each, whatever tracker it had; a line cut by a kill is none."""
    file = output_dir / "history.jsonl"
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]] if file.is_file() else []


def start_history(output_dir: Path, step: int) -> None:
    """Begin or continue `history.jsonl`, without the entries after `step`, of a future that was killed."""
    kept = [row for row in read_history(output_dir) if row["step"] <= step]
    (output_dir / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))


def add_to_history(output_dir: Path, step: int, values: dict[str, float]) -> None:
    """Append a log entry."""
    with (output_dir / "history.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, **values}) + "\n")


def log_pictures(accelerator: Accelerator, folder: Path, pictures: dict[str, list[Image.Image]], step: int) -> None:
    """Keep pictures as `step-N-name-i.png`, and show them in the tracker."""
    for name, images in pictures.items():
        for i, image in enumerate(images):
            image.save(folder / f"step-{step}-{name}-{i}.png")
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            for name, images in pictures.items():
                arrays = np.stack([np.asarray(image.convert("RGB")) for image in images])
                tracker.log_images({f"validation/{name}": arrays}, step, dataformats="NHWC")
        else:
            tracker.log_images({f"validation/{name}": images for name, images in pictures.items()}, step)
