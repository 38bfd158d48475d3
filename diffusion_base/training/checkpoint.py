"""Checkpoints that a kill at any moment, a full disk or a changed command line can't turn into a wrong continuation.

<output_dir>/checkpoint-N/     trainable.safetensors   what is trained, by parameter name
                               optimizer.safetensors   the optimizer's tensors, "<parameter>.<name>"
                               ema.safetensors         the moving average of what is trained, where there is one
                               task.safetensors        what the task's `state` adds, where it adds something
                               state.json              step, schedule, scaler, and the run it belongs to
                               …                       what the task's own `save` writes
<output_dir>/training.json     the run, and how many of its steps are done once it has finished
"""

import json
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from diffusion_base.errors import UserError
from diffusion_base.files import appearing, disk_errors, partial_folder
from diffusion_base.training.ema import MovingAverage
from diffusion_base.training.optimizers import read_state, restore_state
from diffusion_base.training.task import TrainingTask

# Arguments that may change when a run is continued: where things lie, what is reported, how the same batch is cut.
# What they stand for is checked itself where it matters: the base's hash, the samples of a step, the schedule's length.
IMMATERIAL = {
    "output_dir", "resume_from_checkpoint", "checkpointing_steps", "checkpoints_total_limit", "report_to",
    "logging_dir", "logging_steps", "dataloader_num_workers", "max_train_steps", "num_train_epochs",
    "train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing", "allow_tf32",
    "enable_xformers_memory_efficient_attention", "latents_dir", "num_images_per_val_prompt",
    "name", "tracker_project_name",
    "pretrained_model_name_or_path", "revision", "variant", "cache_dir",
}  # fmt: skip
CONTINUE = "what was saved before is intact: make room, then continue by --resume_from_checkpoint latest"


def complete(output_dir: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return [folder for folder in _numbered(output_dir) if (folder / "state.json").is_file()]


def _numbered(output_dir: Path) -> list[Path]:
    found = [folder for folder in output_dir.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", folder.name)]
    return sorted(found, key=_step)


def starting_point(output_dir: Path, resume: str | None) -> Path | None:
    """The checkpoint to continue from; None to start from nothing.

    Args:
        resume: "latest", the name of a checkpoint in `output_dir`, or None.

    Raises:
        UserError: the folder holds a run and nothing was said of continuing it; no such checkpoint; later ones exist.
    """
    existing = complete(output_dir)
    if foreign := [folder for folder in _numbered(output_dir) if folder not in existing]:
        raise UserError(
            f"{foreign[0]} is no checkpoint of this repository (it has no state.json): move it away, or choose another"
            " --output_dir"
        )
    if resume is None and existing:
        raise UserError(
            f"{output_dir} holds a run already (up to {existing[-1].name}): continue it by"
            " --resume_from_checkpoint latest, or choose another --output_dir"
        )
    if not existing and _read_json(output_dir / "training.json").get("finished_steps"):
        raise UserError(f"{output_dir} holds a finished run without checkpoints: choose another --output_dir")
    if resume is None or (resume == "latest" and not existing):
        return None
    if resume == "latest":
        return existing[-1]
    wanted = output_dir / Path(resume).name
    if wanted not in existing:
        there = ", ".join(folder.name for folder in existing) or "none"
        raise UserError(f"--resume_from_checkpoint {resume}: no such checkpoint in {output_dir}; there are: {there}")
    if later := [folder.name for folder in existing if _step(folder) > _step(wanted)]:
        raise UserError(f"{wanted.name} is followed by {', '.join(later)} in {output_dir}: move these away first")
    return wanted


def save(
    folder: Path,
    task: TrainingTask,
    optimizer: Optimizer,
    lr_scheduler: LRScheduler,
    scaler: GradScaler | None,
    ema: MovingAverage | None = None,
    *,
    step: int,
    run: dict[str, Any],
) -> None:
    """Write everything that continuing needs, or nothing: the folder appears under its name when it is complete.

    Raises:
        UserError: the disk is full or not writable; earlier checkpoints stay as they are.
    """
    tensors, numbers = read_state(optimizer)
    groups = [{key: group[key] for key in ("lr", "initial_lr")} for group in optimizer.param_groups]
    state = {
        "step": step,
        "run": run,
        "optimizer": {"numbers": numbers, "param_groups": groups},
        "lr_scheduler": lr_scheduler.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
    }

    with disk_errors(folder, CONTINUE), appearing(folder) as partial:
        save_file(_apart(trainable(task)), partial / "trainable.safetensors")
        save_file(_apart(tensors), partial / "optimizer.safetensors")
        for name, more in _optional(task, ema).items():
            save_file(_apart(more), partial / f"{name}.safetensors")
        with ema.in_place() if ema else nullcontext():
            task.save(partial)
        (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")


def load(
    folder: Path,
    task: TrainingTask,
    optimizer: Optimizer,
    lr_scheduler: LRScheduler,
    scaler: GradScaler | None,
    ema: MovingAverage | None = None,
    *,
    run: dict[str, Any],
) -> int:
    """Take up a checkpoint's state, in place. Returns the number of steps it has behind it.

    Raises:
        UserError: it belongs to another base, other data or other arguments, or is damaged.
    """
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "optimizer.safetensors")
        weights = load_file(folder / "trainable.safetensors")
        more = {name: load_file(folder / f"{name}.safetensors") for name in _optional(task, ema)}
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder} is damaged ({error}): take it out and resume from an earlier one") from None
    check_same_run(folder, state["run"], run)
    ours = {"weights": trainable(task)} | _optional(task, ema)
    for kind, there in {"weights": weights, **more}.items():
        if _shapes(there) != _shapes(ours[kind]):
            raise UserError(f"{folder} trains other parameters than this run")
    for name, tensor in ours["weights"].items():
        tensor.copy_(weights[name])
    if ema:
        for name, tensor in ema.average.items():
            tensor.copy_(more["ema"][name])
    if "task" in more:
        task.load_state(more["task"])
    saved = state["optimizer"]
    restore_state(optimizer, tensors | saved["numbers"], saved["param_groups"])
    lr_scheduler.load_state_dict(state["lr_scheduler"])
    if scaler is not None:
        scaler.load_state_dict(state["scaler"])
    return state["step"]


def trainable(task: TrainingTask) -> dict[str, Tensor]:
    """What is trained, by parameter name; the tensors share the parameters' memory."""
    return {name: parameter.detach() for name, parameter in task.named_parameters() if parameter.requires_grad}


def _optional(task: TrainingTask, ema: MovingAverage | None) -> dict[str, dict[str, Tensor]]:
    """The tensors that only some runs have, by the name of their file."""
    tensors = {"ema": ema.average if ema else {}, "task": task.state()}
    return {name: some for name, some in tensors.items() if some}


def _shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors takes them: contiguous, no two in the same memory."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        shared = tensor.data_ptr() in seen
        seen.add(tensor.data_ptr())
        apart[name] = tensor.clone(memory_format=torch.contiguous_format) if shared else tensor.contiguous()
    return apart


def check_same_run(folder: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raise a UserError naming the first thing in which two runs differ so that one can't continue the other."""
    if theirs["base_hash"] != ours["base_hash"]:
        raise UserError(
            f"{folder} is a checkpoint of another base ({theirs['base_hash']}, not {ours['base_hash']}):"
            " give the --pretrained_model_name_or_path it began with, or choose another --output_dir"
        )
    ours = json.loads(json.dumps(ours))  # tuples become lists, as in the file
    differences = [
        f"{key} {there.get(key)!r} there, {here.get(key)!r} here"
        for there, here in ((theirs, ours), (theirs["arguments"], ours["arguments"]))
        for key in sorted(there.keys() | here.keys())
        if key not in IMMATERIAL | {"arguments"}
        and not key.startswith("validation")
        and there.get(key) != here.get(key)
    ]
    if differences:
        raise UserError(
            f"{folder} belongs to another run ({'; '.join(differences)}): give its arguments, or another --output_dir"
        )


def prune(output_dir: Path, limit: int) -> None:
    """Delete the oldest checkpoints beyond `limit`; call it after a new one is complete, from one process."""
    for folder in complete(output_dir)[:-limit]:
        shutil.rmtree(folder.rename(partial_folder(folder)))  # never half a checkpoint by its name


def remove_leftovers(output_dir: Path) -> None:
    """Remove what a killed process was writing or deleting."""
    for partial in output_dir.glob(".checkpoint-*.partial"):
        shutil.rmtree(partial)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("checkpoint-"))


def _read_json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
