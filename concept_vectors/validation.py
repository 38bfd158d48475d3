"""What to look at while training: pictures over strength, and the history of the loss."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from concept_vectors.dataset import ConceptData, Label
from concept_vectors.inference import ConceptVector, FairGroup
from concept_vectors.task import ConceptTask
from diffusion_base.generation import generate
from diffusion_base.processes import process_state
from diffusion_base.training.tracking import read_history


def to_show(data: ConceptData, prompts: Sequence[str]) -> list[Label]:
    """What to look at: each concept on each of the prompts; test.json's where none is given."""
    if data.test and not prompts:
        return data.test
    return [(prompt, (name,)) for prompt in prompts or data.prompts()[:1] for name in data.concepts]


def over_strength(
    pipeline, task: ConceptTask, shown: Sequence[Label], strengths: Sequence[float], count: int, guidance_scale: float
) -> Callable[[Path, int], dict[str, list[Image.Image]]]:
    """Validation: for each prompt and sum of concepts `count` strips, each from one seed, one picture a strength."""
    rows = [(prompt, " + ".join(names), seed) for prompt, names in shown for seed in range(count)]

    def validate(folder: Path, step: int) -> dict[str, list[Image.Image]]:
        vectors = task.learned()
        members = [
            ConceptVector(vectors, name, pipeline=pipeline) for name in dict.fromkeys(name for _, name, _ in rows)
        ]
        columns = [
            generate(
                pipeline,
                [prompt for prompt, _, _ in rows],
                [seed for _, _, seed in rows],
                [FairGroup(members, strength=strength)],
                records=[{"concepts": [name]} for _, name, _ in rows],
                guidance_scale=guidance_scale,
                accelerator=process_state(),
                progress=False,
            )
            for strength in strengths
        ]
        pictures: dict[str, list[Image.Image]] = {}
        for (prompt, name, _), *strip in zip(rows, *columns, strict=True):
            pictures.setdefault(re.sub(r"\W+", "-", f"{name} {prompt}")[:80], []).append(grid([strip]))
        if process_state().is_main_process:
            plot_loss(folder.parent)
        return pictures

    return validate


def grid(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Pictures of one size in rows of one length, without gaps."""
    width, height = rows[0][0].size
    whole = Image.new("RGB", (width * len(rows[0]), height * len(rows)))
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            whole.paste(picture, (x * width, y * height))
    return whole


def plot_loss(output_dir: Path) -> None:
    """Draw loss.png from a run's history: the loss, and how large the vectors are beside the activations."""
    from matplotlib.figure import Figure  # slow to import, and needed only here

    history = read_history(output_dir)
    if not history:
        return
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    loss, shift = (axes := figure.subplots()), axes.twinx()
    steps = [row["step"] for row in history]
    (line,) = loss.plot(steps, [row["loss"] for row in history], color="C0", label="loss")
    (other,) = shift.plot(steps, [row["shift"] for row in history], color="C1", label="‖c‖ / ‖h‖")
    loss.set(xlabel="step", ylabel="loss")
    shift.set(ylabel="‖c‖ / ‖h‖", ylim=(0, None))
    loss.legend(handles=[line, other], loc="upper center")
    figure.savefig(output_dir / "loss.png", dpi=120)
