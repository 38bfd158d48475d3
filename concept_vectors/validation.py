"""What to look at while training: pictures over strength, and the history of the loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from PIL import Image

from concept_vectors.dataset import ConceptData, Label
from concept_vectors.inference import ConceptVector, FairGroup
from concept_vectors.task import ConceptTask
from diffusion_base.arguments import MAY_CHANGE, Strength, WholeNumber
from diffusion_base.errors import UserError
from diffusion_base.generation import generate
from diffusion_base.pipeline import Pipeline
from diffusion_base.processes import process_state
from diffusion_base.training.arguments import ValidationArguments
from diffusion_base.training.tracking import Validate, read_history
from diffusion_base.training.validation import grid, picture_name, sampling


@dataclass(kw_only=True)
class ConceptValidation(ValidationArguments):
    validation_prompts: tuple[str, ...] = ()
    """Prompts to show each concept on; by default what test.json says, else a prompt of the data."""
    validation_strengths: Annotated[tuple[Strength, ...], MAY_CHANGE] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Strengths in a strip of validation pictures."""
    num_images_per_val_prompt: WholeNumber = 2
    """Strips a validation prompt and concept, each with its own seed; 0 for none."""

    def __post_init__(self) -> None:
        if not self.validation_strengths:
            raise UserError("--validation_strengths needs a number; --num_images_per_val_prompt 0 is for no pictures")


def to_show(data: ConceptData, prompts: Sequence[str]) -> list[Label]:
    """What to look at: each concept on each of the prompts; test.json's where none is given."""
    if data.test and not prompts:
        return data.test
    return [(prompt, (name,)) for prompt in prompts or data.prompts()[:1] for name in data.concepts]


def over_strength(
    pipeline: Pipeline, task: ConceptTask, data: ConceptData, arguments: ConceptValidation
) -> Validate | None:
    """Validation: for each prompt and sum of concepts some strips, each from one seed, one picture a strength."""
    count = arguments.num_images_per_val_prompt
    if not count:
        return None
    shown = to_show(data, arguments.validation_prompts)
    rows = [(prompt, " + ".join(names), seed) for prompt, names in shown for seed in range(count)]
    prompts, concepts, seeds = (list(column) for column in zip(*rows, strict=True))
    records = [{"concepts": [name]} for name in concepts]

    def validate(folder: Path, step: int) -> dict[str, list[Image.Image]]:
        vectors = task.learned()
        members = [ConceptVector(vectors, name, pipeline=pipeline) for name in dict.fromkeys(concepts)]
        groups = [FairGroup(members, strength=strength) for strength in arguments.validation_strengths]
        columns = [
            generate(pipeline, prompts, seeds, [group], records=records, **sampling(arguments)) for group in groups
        ]
        pictures: dict[str, list[Image.Image]] = {}
        for prompt, name, *strip in zip(prompts, concepts, *columns, strict=True):
            pictures.setdefault(picture_name(name, prompt), []).append(grid([strip]))
        if process_state().is_main_process:
            plot_loss(folder.parent)
        return pictures

    return validate


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
