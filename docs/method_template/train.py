"""Train the LoRA: accelerate launch -m my_method.train --train_data pairs.jsonl --output_dir runs/mine"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from diffusion_base.arguments import MAY_CHANGE, BaseArguments, Count, Positive, parse
from diffusion_base.errors import run
from diffusion_base.training.arguments import PictureArguments, TrainingArguments, ValidationArguments
from diffusion_base.training.loop import begin, train
from diffusion_base.training.validation import side_by_side
from my_method.dataset import Pairs
from my_method.task import LoraTask
from preference_data import Pair, read_records


@dataclass(kw_only=True)
class Arguments:
    base: BaseArguments
    training: TrainingArguments
    validation: ValidationArguments
    train_data: Annotated[Path, MAY_CHANGE]
    """JSON lines of pairs; see preference_data/README.md."""
    rank: Count = 4
    """Of the LoRA."""
    beta: Positive = 5000.0
    """β of the loss."""


def main(argv: Sequence[str] | None = None) -> Path:
    """Train, and return the output folder."""
    arguments = parse(Arguments, argv, prog="my_method/train.py", description=__doc__)
    training, rank, beta = arguments.training, arguments.rank, arguments.beta
    state = begin(training)
    pipeline = arguments.base.load(state.device)
    cache = PictureArguments(center_crop=True).cache(pipeline, training)
    dataset = Pairs(read_records(arguments.train_data, Pair), cache)
    task = LoraTask(pipeline, rank=rank, beta=beta, seed=training.seed, frozen_dtype=training.frozen_dtype)
    if training.gradient_checkpointing:
        task.denoiser.enable_gradient_checkpointing()
    shown = [(text, {}) for text in arguments.validation.validation_prompts or [p.prompt for p in dataset.pairs[:4]]]
    validate = side_by_side(pipeline, arguments.validation, shown, reference=task.reference)
    return train(task, dataset, training, resolved=arguments, validate=validate)


if __name__ == "__main__":
    run(main)
