"""Train LiVO's value encoder on pairs of preferred and dispreferred pictures.

    accelerate launch value_encoder/train.py --pretrained_model_name_or_path BASE --train_data_dir livo_data \\
        --output_dir runs/livo --center_crop --random_flip --mixed_precision fp16 --gradient_checkpointing
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Gt, Le

from diffusion_base.arguments import (
    MAY_CHANGE,
    BaseArguments,
    Count,
    NotNegative,
    Positive,
    parse,
)
from diffusion_base.errors import UserError, run
from diffusion_base.training.arguments import PictureArguments, TrainingArguments, ValidationArguments
from diffusion_base.training.loop import begin, train
from diffusion_base.training.validation import side_by_side
from preference_data.published import read_livo_dataset, read_livo_folder
from preference_data.schema import Labelled
from value_encoder.dataset import PreferencePairs, first_share, pair
from value_encoder.inference import ValueToken, check_base
from value_encoder.task import LiVOTask


@dataclass(kw_only=True)
class LiVOTraining(TrainingArguments):
    """How to train; the defaults are LiVO's published settings for Stable Diffusion 1.5."""

    learning_rate: NotNegative = 1e-6
    max_train_steps: Count | None = None
    """Length of the training in optimizer steps; overrides --num_train_epochs. 15,000 where neither is given."""
    checkpointing_steps: Count = 1000
    validation_steps: Count = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_train_steps is None and self.num_train_epochs is None:
            self.max_train_steps = 15_000


@dataclass(kw_only=True)
class LiVOArguments:
    """The loss: max(0, γ1 + β (L_θ(x_w) − L_ref(x_w))) + max(0, γ2 + α (L_ref(x_l) − L_θ(x_l)))."""

    livo_beta: Positive = 1000.0
    """β, weight of the preferred picture's term, in units of 1 / denoising error."""
    livo_alpha: Positive = 500.0
    """α, weight of the dispreferred picture's term."""
    livo_gamma_1: Annotated[float, tyro.conf.arg(aliases=["--livo_gamma1"])] = 1.0
    """γ1, margin of the preferred picture's term: it is met once the error fell by γ1/β."""
    livo_gamma_2: Annotated[float, tyro.conf.arg(aliases=["--livo_gamma2"])] = 0.5
    """γ2, margin of the dispreferred picture's term: it is met once the error rose by γ2/α."""
    snr_gamma: Positive | None = None
    """γ of the min-SNR weight on every error, usually 5; without it all timesteps weigh the same."""
    noise_offset: NotNegative = 0.0
    """Scale of an offset a channel that is added to the noise, usually 0.1; 0 for none."""
    input_perturbation: NotNegative = 0.0
    """Scale of extra noise that the network sees but is not asked to predict, usually 0.1; 0 for none."""
    prediction_type: Literal["epsilon", "v_prediction"] | None = None
    """What the network predicts, if the base's scheduler says it wrongly."""


@dataclass(kw_only=True)
class DataArguments:
    """The preference pairs."""

    train_data_dir: Annotated[str | None, MAY_CHANGE] = None
    """Folder <category>/<scene>/metadata.jsonl; see value_encoder/README.md."""
    dataset_name: Annotated[str | None, MAY_CHANGE] = None
    """Instead: a Hugging Face dataset, by name or path."""
    max_train_proportion: Annotated[float, Gt(0), Le(1)] | None = None
    """Take only this share of every scene, its first pictures: for a quicker or a smaller training."""

    def __post_init__(self) -> None:
        if (self.train_data_dir is None) == (self.dataset_name is None):
            raise UserError("give the data by --train_data_dir or by --dataset_name, one of the two")

    def read(self, folder: Path) -> list[Labelled]:
        """The pictures; those of a data set's tables are written into `folder`."""
        if self.train_data_dir is not None:
            entries = list(read_livo_folder(self.train_data_dir))
        else:
            assert self.dataset_name is not None  # or __post_init__ would have refused
            entries = list(read_livo_dataset(self.dataset_name, folder))
        return entries if self.max_train_proportion is None else first_share(entries, self.max_train_proportion)


@dataclass(kw_only=True)
class LiVOValidation(ValidationArguments):
    validation_prompts: tuple[str, ...] = ()
    """"<value>, <prompt>" to show base and aligned pictures of; by default four from the data."""

    def __post_init__(self) -> None:
        if wrong := next((text for text in self.validation_prompts if ", " not in text), None):
            raise UserError(f"--validation_prompts {wrong!r} must read '<value>, <prompt>'")


@dataclass(kw_only=True)
class Arguments:
    base: BaseArguments
    training: LiVOTraining
    livo: LiVOArguments
    data: DataArguments
    pictures: PictureArguments
    validation: LiVOValidation


def main(argv: Sequence[str] | None = None) -> Path:
    """Train, and return the output folder; the encoder is in its `value_encoder/`."""
    arguments = parse(Arguments, argv, prog="value_encoder/train.py", description=__doc__)
    training, livo, pictures = arguments.training, arguments.livo, arguments.pictures
    state = begin(training)
    pairs = pair(arguments.data.read(pictures.folder(training) / "pictures"))
    pipeline = arguments.base.load(state.device)
    check_base(pipeline)
    dataset = PreferencePairs(pairs, pictures.cache(pipeline, training), pictures.random_flip)
    state.print(dataset.summary())

    task = LiVOTask(
        pipeline,
        beta=livo.livo_beta,
        alpha=livo.livo_alpha,
        gamma1=livo.livo_gamma_1,
        gamma2=livo.livo_gamma_2,
        snr_gamma=livo.snr_gamma,
        noise_offset=livo.noise_offset,
        input_perturbation=livo.input_perturbation,
        prediction_type=livo.prediction_type,
        seed=training.seed,
        live=not pictures.center_crop,
        frozen_dtype=training.frozen_dtype,
        gradient_checkpointing=training.gradient_checkpointing,
    )
    named = [text.split(", ", 1) for text in arguments.validation.validation_prompts]
    shown = [(prompt, {"value": value}) for value, prompt in named or dataset.examples(4)]
    validate = side_by_side(
        pipeline,
        arguments.validation,
        shown,
        interventions=lambda: [ValueToken(task.value_encoder, pipeline=pipeline)],
    )
    return train(task, dataset, training, resolved=arguments, validate=validate)


if __name__ == "__main__":
    run(main)
