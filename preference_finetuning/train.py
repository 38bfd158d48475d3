"""Fine-tune a base on what people like and dislike: Diffusion-KTO and its relatives.

    accelerate launch preference_finetuning/train.py --pretrained_model_name_or_path BASE --train_data_dir pickapic \\
        --output_dir runs/kto --objective kto --mixed_precision bf16 --positive_ratio 0.8
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusion_base.arguments import BaseArguments, parse
from diffusion_base.errors import UserError, run
from diffusion_base.families import family_of
from diffusion_base.pipeline import Pipeline
from diffusion_base.processes import process_state
from diffusion_base.training.loop import begin, train
from diffusion_base.training.tracking import Validate
from diffusion_base.training.validation import side_by_side
from preference_finetuning.arguments import (
    POLICIES,
    AdaptationArguments,
    DataArguments,
    ObjectiveArguments,
    PreferencePictures,
    PreferenceTraining,
    PreferenceValidation,
)
from preference_finetuning.dataset import Preferences, fitting
from preference_finetuning.lora import lora_config
from preference_finetuning.task import PreferenceTask


@dataclass
class PreferenceBase(BaseArguments):
    pretrained_vae_model_name_or_path: str | None = None
    """Another VAE for the training pictures, such as one that computes in half precision."""

    def load(self, device=None) -> Pipeline:
        pipeline = super().load(device)
        if self.pretrained_vae_model_name_or_path is not None:
            from diffusers import AutoencoderKL

            from diffusion_base.identity import base_hash, remember_base

            known = base_hash(pipeline)  # what is trained is still this base's
            vae = AutoencoderKL.from_pretrained(self.pretrained_vae_model_name_or_path, cache_dir=self.cache_dir)
            pipeline.vae = vae.to(pipeline.device).requires_grad_(False).eval()
            remember_base(pipeline, known)
        return pipeline


@dataclass(kw_only=True)
class Arguments:
    base: PreferenceBase
    training: PreferenceTraining
    loss: ObjectiveArguments
    adaptation: AdaptationArguments
    data: DataArguments
    pictures: PreferencePictures
    validation: PreferenceValidation

    def __post_init__(self) -> None:
        if self.adaptation.reference_ema and self.validation.run_validation and not self.validation.fixed_noise:
            raise UserError("--reference_ema with --run_validation needs --fixed_noise: the base is gone after a while")
        if self.adaptation.reference_ema and not (self.loss.chosen.TRAITS.reference or self.adaptation.measure_drift):
            raise UserError(
                f"--reference_ema: --objective {self.loss.name} has no reference (--measure_drift adds one)"
            )
        if self.data.positive_ratio is not None and self.loss.chosen.TRAITS.needs != "labels":
            raise UserError(f"--positive_ratio has no meaning for --objective {self.loss.name}: leave it out")


def announce(arguments: Arguments) -> None:
    """A line on each flag that has no effect."""
    say = process_state().print
    adaptation, data, validation = arguments.adaptation, arguments.data, arguments.validation
    if (adaptation.rank or adaptation.lora_alpha) and not adaptation.use_lora:
        flag = "--rank" if adaptation.rank else "--lora_alpha"
        say(f"{flag} has no effect without --use_lora: the whole denoiser is trained")
    if data.train_data_dir and data.dataset_name:
        say("--dataset_name has no effect with --train_data_dir")
    if validation.validation_prompts and not validation.run_validation:
        say("--validation_prompts has no effect without --run_validation")


def main(argv: Sequence[str] | None = None) -> Path:
    """Train, and return the output folder, with the denoiser in `unet/`, or pytorch_lora_weights.safetensors."""
    arguments = parse(Arguments, argv, prog="preference_finetuning/train.py", description=__doc__)
    training, loss, adaptation, pictures = arguments.training, arguments.loss, arguments.adaptation, arguments.pictures
    state = begin(training)
    announce(arguments)
    policy = POLICIES[arguments.data.policy]
    rows = fitting(arguments.data.open(training.seed, arguments.base.cache_dir), loss.name, policy)
    pipeline = arguments.base.load(state.device)
    lora = None
    if adaptation.use_lora:
        rank = adaptation.rank or 4
        lora = lora_config(
            family_of(pipeline).denoiser(pipeline), rank, adaptation.lora_alpha or rank, adaptation.lora_targets
        )
    settings = loss.settings()
    dataset = Preferences(
        rows,
        pictures.cache(pipeline, training),
        cached=arguments.data.cache_latents,
        random_crop=not pictures.center_crop,
        random_flip=pictures.random_flip,
        positive_ratio=arguments.data.positive_ratio,
        empty_prompts=arguments.data.proportion_empty_prompts,
        prefixes=loss.chosen.TRAITS.prefixes,
        mismatched=settings.get("bce_offset") == "original",
    )
    state.print(dataset.summary())
    task = PreferenceTask(
        pipeline,
        loss.chosen,
        settings,
        lora=lora,
        compare=adaptation.measure_drift,
        pictured=arguments.validation.run_validation,
        reference_momentum=adaptation.reference_ema_momentum if adaptation.reference_ema else None,
        timesteps_per_sample=loss.timesteps_per_sample,
        timestep_range=loss.timestep_range,
        snr_gamma=loss.snr_gamma,
        prediction_type=loss.prediction_type,
        seed=training.seed,
        live=dataset.live,
        frozen_dtype=training.frozen_dtype,
        gradient_checkpointing=training.gradient_checkpointing,
    )
    validate = None
    if arguments.validation.run_validation:
        validate = pictures_beside_the_base(pipeline, task, dataset, arguments)
    return train(task, dataset, training, resolved=arguments, validate=validate)


def pictures_beside_the_base(
    pipeline: Pipeline, task: PreferenceTask, dataset: Preferences, arguments: Arguments
) -> Validate | None:
    """Validation pictures, by default of four of the data's prompts."""
    validation = arguments.validation
    return side_by_side(
        pipeline,
        validation,
        [(prompt, {}) for prompt in validation.validation_prompts or dataset.examples(4)],
        reference=task.reference,
        fixed_noise=validation.fixed_noise,
        base_now=arguments.adaptation.reference_ema,
        # a whole denoiser is in float32, what is frozen beside it is not
        mixed_precision="no" if arguments.adaptation.use_lora else arguments.training.precision,
    )


if __name__ == "__main__":
    run(main)
