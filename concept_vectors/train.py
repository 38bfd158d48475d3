"""Learn concept vectors from pictures that show the concepts.

    accelerate launch concept_vectors/train.py --pretrained_model_name_or_path BASE --train_data_dir datasets/person \\
        --output_dir runs/person
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from concept_vectors.dataset import ConceptData, ConceptPictures, choose, read_data
from concept_vectors.task import ConceptTask, picture_size
from concept_vectors.validation import ConceptValidation, over_strength, plot_loss
from diffusion_base.arguments import (
    MAY_CHANGE,
    BaseArguments,
    Count,
    NotNegative,
    Positive,
    parse,
    to_dict,
)
from diffusion_base.errors import run
from diffusion_base.training.arguments import PictureArguments, TrainingArguments
from diffusion_base.training.loop import begin, train


@dataclass(kw_only=True)
class ConceptTraining(TrainingArguments):
    """How to train; the defaults are the released script's. The paper trains for 10,000 steps."""

    learning_rate: NotNegative = 0.1
    adam_weight_decay: NotNegative = 0.0
    num_train_epochs: Count | None = None
    """Length of the training in passes over the data; 20 where neither this nor --max_train_steps is given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_train_steps is None and self.num_train_epochs is None:
            self.num_train_epochs = 20


@dataclass(kw_only=True)
class ConceptArguments:
    """What is learned: c in L_θ(x⁺ | prompt without the concept, h + c)."""

    concepts: tuple[str, ...] = ()
    """Learn these alone; by default all that the pictures show."""
    per_channel: bool = False
    """One number a channel, for pictures of any size, instead of the mid block's full shape (as released)."""
    snr_gamma: Positive | None = None
    """γ of the min-SNR weight on the error, usually 5; without it all timesteps weigh the same."""
    select: Literal["random", "top"] = "random"
    """Which of a picture's labels counts: one drawn anew at every step, or always the first."""


@dataclass(kw_only=True)
class DataArguments:
    """What to learn from."""

    train_data_dir: Annotated[str, MAY_CHANGE]
    """Pictures N.jpg or N.png with labels.json and concept_dict.json."""
    max_train_samples: Count | None = None
    """Take only so many pictures, the first ones."""


@dataclass(kw_only=True)
class ConceptPictureArguments(PictureArguments):
    resolution: Count | None = None
    """Pictures are scaled and cut to squares of this many pixels; by default the size the base was trained at,
    the only one for vectors of the mid block's full shape."""
    center_crop: bool = True


@dataclass(kw_only=True)
class Arguments:
    base: BaseArguments = field(default_factory=lambda: BaseArguments("CompVis/stable-diffusion-v1-4"))
    training: ConceptTraining
    learned: ConceptArguments
    data: DataArguments
    pictures: ConceptPictureArguments
    validation: ConceptValidation


def facts(arguments: Arguments, data: ConceptData) -> dict[str, Any]:
    """What to know of a training when its vectors are all one has."""
    names = (
        "learning_rate", "train_batch_size", "gradient_accumulation_steps", "max_train_steps", "num_train_epochs",
        "seed", "per_channel", "snr_gamma", "resolution",
    )  # fmt: skip
    settings = to_dict(arguments)
    return {name: settings[name] for name in names} | {"pictures": len(data.pictures), "prompts": data.prompts()[:20]}


def main(argv: Sequence[str] | None = None) -> Path:
    """Train, and return the output folder, which holds concept_vectors.safetensors."""
    arguments = parse(Arguments, argv, prog="concept_vectors/train.py", description=__doc__)
    training, learned, pictures = arguments.training, arguments.learned, arguments.pictures
    state = begin(training)
    found = read_data(arguments.data.train_data_dir)
    data = choose(found, learned.concepts, arguments.data.max_train_samples)
    if not learned.concepts and (unseen := [name for name in found.concepts if name not in data.concepts]):
        state.print(f"no picture shows {', '.join(unseen)}: not learned")
    pipeline = arguments.base.load(state.device)
    resolution = picture_size(pipeline, pictures.resolution, learned.per_channel)  # before they are encoded
    cache = pictures.cache(pipeline, training)
    dataset = ConceptPictures(data, cache, pictures.random_flip, first_label=learned.select == "top")
    state.print(data.summary())

    task = ConceptTask(
        pipeline,
        data.concepts,
        per_channel=learned.per_channel,
        snr_gamma=learned.snr_gamma,
        seed=training.seed,
        resolution=resolution,
        live=not pictures.center_crop,
        facts=facts(arguments, data),
        frozen_dtype=training.frozen_dtype,
        gradient_checkpointing=training.gradient_checkpointing,
    )
    validate = over_strength(pipeline, task, data, arguments.validation)
    output_dir = train(task, dataset, training, resolved=arguments, validate=validate)
    if state.is_main_process:
        plot_loss(output_dir)
    return output_dir


if __name__ == "__main__":
    run(main)
