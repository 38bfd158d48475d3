"""The one training loop. It runs any TrainingTask: reduces, accumulates, clips, logs, validates, saves, continues.

Randomness is a function of (seed, step, sample), never of history. So a continued run IS the uninterrupted one, and a
step's gradient is the same however its samples are spread over processes and accumulation.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import send_to_device, set_seed
from diffusers.optimization import get_scheduler
from torch import nn
from tqdm import tqdm

from diffusion_base.arguments import fixed_fields, to_dict
from diffusion_base.errors import UserError
from diffusion_base.files import disk_errors, write_json
from diffusion_base.noising import per_sample_generator
from diffusion_base.processes import process_state
from diffusion_base.training import checkpoint, sharding
from diffusion_base.training.arguments import TrainingArguments
from diffusion_base.training.batches import BatchOrder, TrainingDataset, load_batches
from diffusion_base.training.cpu_attention import fast_attention
from diffusion_base.training.ema import MovingAverage
from diffusion_base.training.launch import announce, make_accelerator, use_xformers
from diffusion_base.training.optimizers import build_optimizer
from diffusion_base.training.task import TrainingTask
from diffusion_base.training.tracking import (
    RunningMeans,
    Validate,
    add_to_history,
    log_pictures,
    start_history,
    start_trackers,
)


def begin(arguments: TrainingArguments) -> PartialState:
    """For the first lines of a train.py: what is made at random from here on, as the first weights of a LoRA, is
    --seed's; and an output folder that can't be used shows before the long part.

    Returns:
        This process among those of the run.

    Raises:
        UserError: as of `train`, of the output folder and the checkpoint.
    """
    set_seed(arguments.seed)
    checkpoint.starting_point(Path(arguments.output_dir), arguments.resume_from_checkpoint)
    return process_state()


def train(
    task: TrainingTask,
    dataset: TrainingDataset,
    arguments: TrainingArguments,
    *,
    resolved: Any = None,
    validate: Validate | None = None,
    collate: Callable[[list[dict]], dict] | None = None,
) -> Path:
    """Train `task` on `dataset`, or continue training it.

    Args:
        resolved: the dataclass of all the run's arguments, None if these are `arguments` alone: saved with it, and
            compared when it is continued, but for the fields that are marked `MAY_CHANGE`.
        validate: makes pictures, e.g. that of `side_by_side`. Called in every process, so that they share the
            work (`generate` with the `accelerator`); the main process's pictures are kept and shown.
        collate: makes a batch of items; None stacks tensors and numbers, and lists texts.

    Returns:
        The output folder; it holds what `task.save` wrote, `training.json`, and the checkpoints.

    Raises:
        UserError: the loss became infinite or NaN; the data has less than a step's samples; the output folder or the
            checkpoint belongs to another run; the disk is full; something asked for is not installed.
    """
    resolved = resolved or arguments
    accelerator = make_accelerator(arguments)
    output_dir = Path(arguments.output_dir)
    order = BatchOrder(
        len(dataset),
        arguments.train_batch_size,
        arguments.gradient_accumulation_steps,
        accelerator.num_processes,
        accelerator.process_index,
        arguments.seed,
    )
    last_step = arguments.max_train_steps or (arguments.num_train_epochs or 1) * order.steps_per_epoch
    schedule_length = None if arguments.lr_scheduler.startswith("constant") else last_step
    run: dict[str, Any] = {
        "base_hash": task.base_hash,
        "data_size": len(dataset),
        "data": dataset.fingerprint(),
        "samples_per_step": order.samples_per_step,
        "schedule_length": schedule_length,
        "arguments": to_dict(resolved),
    }
    if task.uses_step_means:
        run["accumulation"] = arguments.gradient_accumulation_steps  # which cuts those means
    start = checkpoint.starting_point(output_dir, arguments.resume_from_checkpoint)
    steps = accelerator.gather(torch.tensor([checkpoint.steps_done(start)], device=accelerator.device))
    if steps.unique().numel() > 1:  # and all have looked before one writes
        raise UserError(f"--output_dir {output_dir}: the machines don't see the same folder; give one that all share")

    if arguments.enable_xformers_memory_efficient_attention:
        use_xformers(task)
    _in_float32(task)
    sharding.split(task, accelerator)
    groups = _checked_groups(task)
    parameters = [parameter for group in groups for parameter in group["params"]]
    optimizer = build_optimizer(groups, arguments, samples_per_step=order.samples_per_step, device=accelerator.device)
    lr_scheduler = get_scheduler(  # not prepared: accelerate would step it once a process
        arguments.lr_scheduler,
        optimizer,
        num_warmup_steps=arguments.lr_warmup_steps,
        num_training_steps=schedule_length,
        num_cycles=arguments.lr_num_cycles,
        power=arguments.lr_power,
    )
    prepared, optimizer = sharding.prepare(task, optimizer, accelerator)
    ema = MovingAverage(checkpoint.trainable(task), arguments.ema_decay) if arguments.use_ema else None
    state = checkpoint.State(task, optimizer, lr_scheduler, accelerator.scaler, ema)
    step = checkpoint.load(start, state, run=run, fixed=fixed_fields(resolved)) if start else 0
    if accelerator.is_main_process:
        with disk_errors(output_dir, checkpoint.CONTINUE):
            output_dir.mkdir(parents=True, exist_ok=True)
            checkpoint.remove_leftovers(output_dir)
            write_json(output_dir / "training.json", run)
            start_history(output_dir, step)
    start_trackers(accelerator, arguments, run["arguments"], step)
    announce(accelerator, arguments, run, start, last_step)

    means = RunningMeans(accelerator)
    batches = load_batches(
        dataset,
        order,
        range(step, last_step),
        num_workers=arguments.dataloader_num_workers,
        pin_memory=accelerator.device.type == "cuda",
        collate=collate,
    )
    progress = tqdm(
        total=last_step, initial=step, desc="training", unit="step", disable=not accelerator.is_main_process
    )
    _train_mode(task)
    for batch in batches:
        # Step and index stay on the CPU: reading them there stalls nothing. (DDP would move them if this were a dict.)
        keys = {"step": batch["step"], "index": batch["index"]}
        moved = MappingProxyType(send_to_device(batch, accelerator.device, non_blocking=True) | keys)
        torch.manual_seed(per_sample_generator(arguments.seed, step, int(keys["index"][0]), "dropout").initial_seed())
        with accelerator.accumulate(prepared):
            with (
                sharding.autocast(accelerator, arguments.precision),
                fast_attention(accelerator, arguments.gradient_checkpointing),
            ):
                loss, metrics = prepared(moved)  # (B,) each
            # equal batches: the mean over accumulation (accelerate's) and processes (DDP's) is that of all samples
            accelerator.backward(loss.mean())
            if accelerator.sync_gradients:
                grad_norm = sharding.clip(parameters, arguments.max_grad_norm, accelerator)
            optimizer.step()
            optimizer.zero_grad()
        means.add(step + 1, {"loss": loss.detach(), **metrics})
        if not accelerator.sync_gradients:
            continue

        step += 1
        progress.update()
        learning_rate = lr_scheduler.get_last_lr()[0]
        if not optimizer.step_was_skipped:  # by fp16's scaler
            lr_scheduler.step()
            means.require_finite(step, grad_norm)
        with torch.no_grad():
            task.after_step(step)
        if ema:
            ema.update(step)
        save_now = step % arguments.checkpointing_steps == 0 or step == last_step
        if save_now or step % arguments.logging_steps == 0:
            if bad_step := means.first_bad_step():
                raise UserError(_diverged(bad_step, output_dir))
            values = task.read(step, means.read()) | {"lr": learning_rate, "grad_norm": grad_norm.item()}
            progress.set_postfix(loss=f"{values['loss']:.4g}")
            accelerator.log(values, step)
            if accelerator.is_main_process:
                with disk_errors(output_dir, checkpoint.CONTINUE):
                    add_to_history(output_dir, step, values)
        if save_now:
            checkpoint.save(output_dir / f"checkpoint-{step}", state, step=step, run=run)
            if arguments.checkpoints_total_limit and accelerator.is_main_process:
                checkpoint.prune(output_dir, arguments.checkpoints_total_limit)
        if validate and (step % arguments.validation_steps == 0 or step == last_step):
            with state.averaged(), sharding.runnable(task):
                _show(task, validate, accelerator, output_dir / "validation", step)

    progress.close()
    with disk_errors(output_dir, checkpoint.CONTINUE):
        state.export(output_dir if accelerator.is_main_process else None)
    if accelerator.is_main_process:
        with disk_errors(output_dir, checkpoint.CONTINUE):
            write_json(output_dir / "training.json", run | {"finished_steps": step})
    accelerator.wait_for_everyone()
    for tracker in accelerator.trackers:
        tracker.finish()
    return output_dir


def _in_float32(task: TrainingTask) -> None:
    """What is trained, that is: a LoRA that was made on a base in half precision comes in the base's."""
    for parameter in task.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _checked_groups(task: TrainingTask) -> list[dict[str, Any]]:
    """The task's parameter groups, which hold what is trained and nothing else, once."""
    groups = task.parameter_groups()
    grouped = Counter(id(parameter) for group in groups for parameter in group["params"])
    for name, parameter in task.named_parameters():
        if grouped[id(parameter)] != int(parameter.requires_grad):
            raise ValueError(f"{name} must be in one of the parameter groups if it requires a gradient, else in none")
    return groups


def _train_mode(task: nn.Module) -> None:
    """Training mode for what is trained; frozen parts stay in evaluation mode."""
    task.train()
    for module in task.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def _show(task: TrainingTask, validate: Validate, accelerator: Accelerator, folder: Path, step: int) -> None:
    """Have all processes make the validation pictures; keep them and show them in the tracker."""
    folder.mkdir(parents=True, exist_ok=True)
    task.eval()
    pictures = validate(folder, step) or {}
    _train_mode(task)
    if accelerator.is_main_process:
        with disk_errors(folder, checkpoint.CONTINUE):
            log_pictures(accelerator, folder, pictures, step)


def _diverged(step: int, output_dir: Path) -> str:
    good = checkpoint.last_good(output_dir)
    kept = f"{good.name} is the last good checkpoint" if good else "there is no good checkpoint before"
    return (
        f"the loss or its gradient is NaN or infinite at step {step}; {kept}. Lower --learning_rate,"
        " or use bf16 instead of fp16"
    )
