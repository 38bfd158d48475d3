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
from concept_vectors.validation import over_strength, plot_loss, to_show
from diffusion_base.arguments import (
    MAY_CHANGE,
    BaseArguments,
    Count,
    NotNegative,
    Positive,
    WholeNumber,
    check_ranges,
    parse,
    to_dict,
)
from diffusion_base.errors import UserError, run
from diffusion_base.latents import LatentCache
from diffusion_base.pipeline import load_pipeline
from diffusion_base.training.arguments import TrainingArguments
from diffusion_base.training.loop import begin, train, use_xformers


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

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(kw_only=True)
class DataArguments:
    """What to learn from, and what to look at."""

    train_data_dir: Annotated[str, MAY_CHANGE]
    """Pictures N.jpg or N.png with labels.json and concept_dict.json."""
    max_train_samples: Count | None = None
    """Take only so many pictures, the first ones."""
    resolution: Count | None = None
    """Pictures are scaled and cut to squares of this many pixels; by default the size the base was trained at,
    the only one for vectors of the mid block's full shape."""
    center_crop: bool = True
    """Cut the square out of the middle, so that pictures are encoded once. Otherwise anywhere, anew at every step."""
    random_flip: bool = False
    """Mirror every other picture, at random."""
    latents_dir: Annotated[str | None, MAY_CHANGE] = None
    """Where encoded pictures are kept, to be shared between runs; by default `latents` in the output folder."""
    validation_prompts: Annotated[tuple[str, ...], MAY_CHANGE] = ()
    """Prompts to show each concept on; by default what test.json says, else a prompt of the data."""
    validation_strengths: Annotated[tuple[float, ...], MAY_CHANGE] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Strengths in a strip of validation pictures."""
    num_images_per_val_prompt: Annotated[WholeNumber, MAY_CHANGE] = 2
    """Strips a validation prompt and concept, each with its own seed; 0 for none."""
    validation_guidance_scale: Annotated[float, MAY_CHANGE] = 7.5
    """Guidance of the validation pictures."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.validation_strengths:
            raise UserError("--validation_strengths needs a number; --num_images_per_val_prompt 0 is for no pictures")


@dataclass(kw_only=True)
class Arguments:
    base: BaseArguments = field(default_factory=lambda: BaseArguments("CompVis/stable-diffusion-v1-4"))
    training: ConceptTraining
    learned: ConceptArguments
    data: DataArguments


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
    base, training, learned = arguments.base, arguments.training, arguments.learned
    state = begin(training)
    found = read_data(arguments.data.train_data_dir)
    data = choose(found, learned.concepts, arguments.data.max_train_samples)
    if not learned.concepts and (unseen := [name for name in found.concepts if name not in data.concepts]):
        state.print(f"no picture shows {', '.join(unseen)}: not learned")
    pipeline = load_pipeline(
        base.pretrained_model_name_or_path,
        revision=base.revision,
        variant=base.variant,
        cache_dir=base.cache_dir,
        device=state.device,
    )
    resolution = picture_size(pipeline, arguments.data.resolution, learned.per_channel)  # before they are encoded
    latents_dir = Path(arguments.data.latents_dir or Path(training.output_dir, "latents"))
    cache = LatentCache(pipeline.vae, latents_dir, resolution, arguments.data.center_crop)
    dataset = ConceptPictures(data, cache, arguments.data.random_flip, first_label=learned.select == "top")
    state.print(data.summary())

    task = ConceptTask(
        pipeline,
        data.concepts,
        per_channel=learned.per_channel,
        snr_gamma=learned.snr_gamma,
        seed=training.seed,
        resolution=resolution,
        live=not arguments.data.center_crop,
        facts=facts(arguments, data),
        frozen_dtype=training.frozen_dtype,
        gradient_checkpointing=training.gradient_checkpointing,
    )
    if training.enable_xformers_memory_efficient_attention:
        use_xformers(pipeline.unet)
    validate = None
    if count := arguments.data.num_images_per_val_prompt:
        shown, strengths = to_show(data, arguments.data.validation_prompts), arguments.data.validation_strengths
        validate = over_strength(pipeline, task, shown, strengths, count, arguments.data.validation_guidance_scale)
    output_dir = train(task, dataset, training, resolved=arguments, validate=validate)
    if state.is_main_process:
        plot_loss(output_dir)
    return output_dir


if __name__ == "__main__":
    run(main)
