"""The arguments that every training script shares."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from annotated_types import Ge, Lt

from diffusion_base.arguments import (
    INFINITE,
    MAY_CHANGE,
    Count,
    Guidance,
    NotNegative,
    Positive,
    WholeNumber,
    check_ranges,
)
from diffusion_base.errors import UserError
from diffusion_base.processes import use_cpu, wants_deepspeed

if TYPE_CHECKING:
    from diffusion_base.latents import LatentCache
    from diffusion_base.pipeline import Pipeline


@dataclass(kw_only=True)
class TrainingArguments:
    """How to train, whatever is trained. The names are those of diffusers' training scripts."""

    output_dir: Annotated[str, MAY_CHANGE]
    """Folder for the weights, checkpoints, logs and validation pictures."""
    seed: WholeNumber = 42
    """Of everything random."""
    train_batch_size: Annotated[Count, MAY_CHANGE] = 8
    """Samples a process takes at once."""
    gradient_accumulation_steps: Annotated[Count, MAY_CHANGE] = 1
    """Batches whose gradients make one step."""
    max_train_steps: Annotated[Count | None, MAY_CHANGE] = None
    """Length of the training in optimizer steps; overrides --num_train_epochs."""
    num_train_epochs: Annotated[Count | None, MAY_CHANGE] = None
    """Length of the training in passes over the data; 1 where neither is given."""
    learning_rate: NotNegative = 1e-5
    """The highest learning rate of the schedule."""
    scale_lr: bool = False
    """Multiply the learning rate by the number of samples in a step."""
    lr_scheduler: Literal[
        "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"
    ] = "constant"
    """How the learning rate changes. It counts optimizer steps, whatever the number of processes."""
    lr_warmup_steps: WholeNumber = 0
    """Steps over which the learning rate rises from 0. Without effect on the schedule `constant`."""
    lr_num_cycles: Count = 1
    """Times that `cosine_with_restarts` begins anew."""
    lr_power: Positive = 1.0
    """Power of `polynomial`."""
    optimizer: Literal["adamw", "adamw_8bit", "adafactor"] = "adamw"
    """adamw_8bit keeps AdamW's state in 8 bits (bitsandbytes, CUDA); adafactor keeps rows and columns of it alone."""
    adam_beta1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """AdamW: decay of the mean of gradients."""
    adam_beta2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """AdamW: decay of the mean of their squares."""
    adam_weight_decay: NotNegative = 1e-2
    """Weight decay, of every optimizer."""
    adam_epsilon: NotNegative = 1e-8
    """AdamW: added to the denominator."""
    use_8bit_adam: bool = False
    """The same as --optimizer adamw_8bit. Without a GPU, and with DeepSpeed, the state stays in 32 bits."""
    use_ema: bool = False
    """Keep a moving average of what is trained; validation and the saved weights are then its."""
    ema_decay: Annotated[float, Ge(0), Lt(1)] = 0.9999
    """Weight of the past in that average at each step; in the first steps it is less."""
    max_grad_norm: Annotated[Positive, INFINITE] = 1.0
    """Gradients are scaled down to this norm; inf leaves them as they are."""
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    """Precision of the computation; what is trained stays in float32. fp16 needs a GPU and is float32 without one, and
    bf16 with DeepSpeed."""
    gradient_checkpointing: Annotated[bool, MAY_CHANGE] = False
    """Recompute activations in the backward pass: less memory, more time."""
    enable_xformers_memory_efficient_attention: Annotated[bool, MAY_CHANGE] = False
    """Use xformers' attention where it is installed and there is a GPU; otherwise torch's own."""
    allow_tf32: Annotated[bool, MAY_CHANGE] = False
    """Let CUDA multiply matrices in TF32: faster, slightly less exact."""
    dataloader_num_workers: Annotated[WholeNumber, MAY_CHANGE] = 0
    """Processes that prepare batches; 0 prepares them in the training process."""
    checkpointing_steps: Annotated[Count, MAY_CHANGE] = 500
    """Steps between checkpoints. The last step always gets one."""
    checkpoints_total_limit: Annotated[Count | None, MAY_CHANGE] = None
    """Keep only this many checkpoints, the newest."""
    resume_from_checkpoint: Annotated[str | None, MAY_CHANGE] = None
    """`latest`, or a checkpoint's name, continues a run exactly. With `latest` and no checkpoint it begins."""
    validation_steps: Annotated[Count, MAY_CHANGE] = 500
    """Steps between validation pictures; the last step gets some too."""
    report_to: Annotated[Literal["tensorboard", "wandb", "none"], MAY_CHANGE] = "tensorboard"
    """Where losses and validation pictures are shown. Without wandb installed it is tensorboard all the same."""
    name: Annotated[str | None, MAY_CHANGE] = None
    """Name of the run in wandb; by default the output folder's."""
    tracker_project_name: Annotated[str, MAY_CHANGE] = "t2i-align"
    """Project of the run in wandb."""
    logging_dir: Annotated[str, MAY_CHANGE] = "logs"
    """Folder of the tracker's files, inside the output folder."""
    logging_steps: Annotated[Count, MAY_CHANGE] = 10
    """Steps between log entries, each a mean over those steps. The device is waited for only then."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.use_8bit_adam and self.optimizer == "adafactor":
            raise UserError("--use_8bit_adam and --optimizer adafactor: choose one of the two")

    @property
    def precision(self) -> Literal["no", "fp16", "bf16"]:
        """`mixed_precision` as this machine can do it."""
        if self.mixed_precision != "fp16":
            return self.mixed_precision
        return "no" if use_cpu() else "bf16" if wants_deepspeed() else "fp16"

    @property
    def eight_bits(self) -> bool:
        """Whether AdamW's state is kept in 8 bits: where that is asked for and can be."""
        asked = self.use_8bit_adam or self.optimizer == "adamw_8bit"
        return asked and not use_cpu() and not wants_deepspeed()

    @property
    def tracker(self) -> str | None:
        """`report_to` as this installation can do it, as accelerate calls it; None for none."""
        if self.report_to == "wandb" and importlib.util.find_spec("wandb") is None:
            return "tensorboard"
        return None if self.report_to == "none" else self.report_to

    @property
    def frozen_dtype(self) -> torch.dtype:
        """For weights that are not trained, which need no more precision than the computation."""
        return {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[self.precision]


@dataclass(kw_only=True)
class PictureArguments:
    """How the training pictures are cut."""

    resolution: Count | None = None
    """Pixels a side of the training pictures; by default what the base was trained at."""
    center_crop: bool = False
    """Cut the square out of the middle, so that pictures are encoded once. Otherwise anywhere, anew at every step."""
    random_flip: bool = False
    """Mirror every other picture, at random."""
    latents_dir: Annotated[str | None, MAY_CHANGE] = None
    """Where encoded pictures are kept, to be shared between runs; by default `latents` in the output folder."""

    def folder(self, training: TrainingArguments) -> Path:
        """Where encoded pictures are kept."""
        return Path(self.latents_dir or Path(training.output_dir, "latents"))

    def cache(self, pipeline: "Pipeline", training: TrainingArguments) -> "LatentCache":
        """What gives the pictures as these arguments say."""
        from diffusion_base.families import own_size
        from diffusion_base.latents import LatentCache  # diffusers, only once it is needed

        resolution = self.resolution or own_size(pipeline)[0]
        return LatentCache(pipeline.vae, self.folder(training), resolution, self.center_crop)


@dataclass(kw_only=True)
class ValidationArguments:
    """Which pictures to look at while training."""

    validation_prompts: Annotated[tuple[str, ...], MAY_CHANGE] = ()
    """Prompts to show base and aligned pictures of; by default some of the data's."""
    num_images_per_val_prompt: Annotated[WholeNumber, MAY_CHANGE] = 1
    """Validation pictures a prompt, each with its own seed; 0 for none."""
    validation_guidance_scale: Annotated[Guidance, MAY_CHANGE] = 7.5
    """Guidance of the validation pictures."""
