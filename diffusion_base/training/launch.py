"""What comes before the first step: the Accelerator, xformers, and a word on what begins."""

import os
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import nn

from diffusion_base.errors import UserError
from diffusion_base.families import DENOISERS
from diffusion_base.processes import process_state, use_cpu, wants_deepspeed
from diffusion_base.training import sharding, zero2
from diffusion_base.training.arguments import TrainingArguments


def make_accelerator(arguments: TrainingArguments) -> Accelerator:
    """This process among those of the run, as the arguments and the launcher say.

    Raises:
        UserError: launched in a way that can't be used.
    """
    if arguments.allow_tf32 and torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
    process_state()
    sharding.check_launch(arguments.precision)
    AcceleratorState._reset_state()  # a process may train several times, each in its own precision
    accelerator = Accelerator(
        cpu=use_cpu(),
        mixed_precision="no" if wants_deepspeed() else arguments.precision,
        deepspeed_plugin=zero2.plugin(arguments) if wants_deepspeed() else None,
        gradient_accumulation_steps=arguments.gradient_accumulation_steps,
        log_with=arguments.tracker,
        project_dir=arguments.output_dir,
        # whatever the launcher says: noise is a function of the step, so a compiled task would be compiled at each
        dynamo_backend="no",
    )
    if accelerator.distributed_type == DistributedType.MEGATRON_LM:
        raise UserError("Megatron-LM can't be used here: scripts/accelerate/ holds the configurations that can")
    return accelerator


def use_xformers(task: nn.Module) -> None:
    """Switch the task's denoiser to xformers' attention, or say in one line why torch's own stays."""
    try:
        for module in task.modules():
            if isinstance(module, DENOISERS):
                module.enable_xformers_memory_efficient_attention()
    except (ImportError, ValueError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        process_state().print(f"torch's own attention is used; xformers' is not available here: {reason}")


def announce(
    accelerator: Accelerator, arguments: TrainingArguments, run: dict[str, Any], start: Path | None, last_step: int
) -> None:
    """One line on what begins, and one on each argument that has no effect here."""
    accelerator.print(
        f"{f'continuing from {start.name}' if start else 'training'}: {last_step} steps of {run['samples_per_step']}"
        f" samples out of {run['data_size']}, {accelerator.num_processes} process(es), {accelerator.device},"
        f" mixed precision {arguments.precision}"
    )
    if arguments.lr_scheduler == "constant" and arguments.lr_warmup_steps:
        accelerator.print("--lr_warmup_steps has no effect with --lr_scheduler constant (constant_with_warmup has one)")
    if run.get("accumulation", 1) > 1:
        accelerator.print(
            "--gradient_accumulation_steps: this loss takes means over a step, which are now over one batch of each"
            " process; --train_batch_size or more processes make them wider"
        )
    if arguments.precision == "bf16" != arguments.mixed_precision:
        accelerator.print(
            f"--mixed_precision {arguments.mixed_precision}: computing in bf16, as ever with DeepSpeed here"
        )
    elif arguments.precision != arguments.mixed_precision:
        accelerator.print(f"--mixed_precision {arguments.mixed_precision} needs a GPU: computing in float32")
    if (arguments.use_8bit_adam or arguments.optimizer == "adamw_8bit") and not arguments.eight_bits:
        why = "with DeepSpeed, which splits it," if wants_deepspeed() else "without a GPU"
        accelerator.print(f"AdamW's state in 8 bits: {why} it stays in 32")
    if os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower() != "no":
        accelerator.print("the launch's dynamo_backend has no effect: nothing is compiled here")
    if arguments.report_to == "wandb" != arguments.tracker:
        accelerator.print("--report_to wandb: it is not installed (pip install wandb), so the log goes to tensorboard")
    if arguments.resume_from_checkpoint and not start:
        accelerator.print(f"no checkpoint in {arguments.output_dir} yet: starting at step 0")
