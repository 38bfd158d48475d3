"""Checkpoints that a kill at any moment, a full disk or a changed command line can't turn into a wrong continuation.

<output_dir>/checkpoint-N/     …                       what the task's own `save` writes
                               trainable.safetensors   what is trained, by parameter name, as far as the task's files
                                                       don't hold it
                               ema.safetensors         the moving average of what is trained, likewise
                               task.safetensors        what the task's `state` adds, likewise
                               optimizer.safetensors   the optimizer's tensors, "<parameter>.<name>"
                               state.json              step, schedule, scaler, the run it belongs to, the sha256 of the
                                                       files above, and which of their tensors is which parameter
<output_dir>/training.json     the run, and how many of its steps are done once it has finished
"""

import json
import re
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from diffusion_base.errors import UserError
from diffusion_base.files import appearing, disk_errors, partial_folder
from diffusion_base.identity import file_hash, same_base
from diffusion_base.processes import process_state
from diffusion_base.training import tensor_files
from diffusion_base.training.ema import MovingAverage
from diffusion_base.training.optimizers import read_state, restore_state
from diffusion_base.training.sharding import gather, split_like, whole_on_main
from diffusion_base.training.task import TrainingTask

CONTINUE = "what was saved before is intact: make room, then continue by --resume_from_checkpoint latest"


@dataclass
class State:
    """All that a step changes."""

    task: TrainingTask
    optimizer: Optimizer
    lr_scheduler: LRScheduler
    scaler: GradScaler | None
    ema: MovingAverage | None = None

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All but the optimizer's, by the name of their file; they share its memory."""
        average = self.ema.average if self.ema else {}
        return {"trainable": trainable(self.task), "ema": average, "task": self.task.state()}

    def averaged(self) -> AbstractContextManager:
        """Inside, what is trained is its moving average, where there is one."""
        return self.ema.in_place() if self.ema else nullcontext()

    def export(self, folder: Path | None) -> None:
        """Have the main process write what people exchange. Every process calls it; the main one gives a folder."""
        with self.averaged(), whole_on_main(self.task):
            if folder is not None:
                self.task.save(folder)


def complete(output_dir: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return [folder for folder in _numbered(output_dir) if (folder / "state.json").is_file()]


def last_good(output_dir: Path) -> Path | None:
    """The newest checkpoint whose files are as they were written, and finite."""
    for folder in reversed(complete(output_dir)):
        try:
            state = _read_state(folder)
            tensors = tensor_files.read(folder, "trainable", state.get("stored", {}).get("trainable", {}))
        except UserError:
            continue
        if all(tensor.isfinite().all() for tensor in tensors.values()):
            return folder
    return None


def starting_point(output_dir: Path, resume: str | None) -> Path | None:
    """The checkpoint to continue from; None to start from nothing.

    Args:
        resume: "latest", the name of a checkpoint in `output_dir` or its path, or None.

    Raises:
        UserError: the folder holds a run and nothing was said of continuing it; no such checkpoint; later ones exist;
            a path that lies elsewhere.
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
    if Path(resume) != Path(wanted.name) and Path(resume).resolve() != wanted.resolve():
        raise UserError(
            f"--resume_from_checkpoint {resume} does not lie in --output_dir {output_dir}: a run is continued where it"
            f" is, so give --output_dir {Path(resume).parent}"
        )
    if wanted not in existing:
        there = ", ".join(folder.name for folder in existing) or "none"
        raise UserError(f"--resume_from_checkpoint {resume}: no such checkpoint in {output_dir}; there are: {there}")
    if later := [folder.name for folder in existing if steps_done(folder) > steps_done(wanted)]:
        raise UserError(f"{wanted.name} is followed by {', '.join(later)} in {output_dir}: move these away first")
    return wanted


def save(folder: Path, state: State, *, step: int, run: dict[str, Any]) -> None:
    """Write everything that continuing needs, or nothing: the folder appears under its name when it is complete.

    Every process calls it; the main one writes.

    Raises:
        UserError: the disk is full or not writable; earlier checkpoints stay as they are.
    """
    main = process_state().is_main_process
    moments, numbers = read_state(state.optimizer)
    content = {
        "step": step,
        "run": run,
        "optimizer": {
            "numbers": numbers,
            "param_groups": [
                {key: group[key] for key in ("lr", "initial_lr")} for group in state.optimizer.param_groups
            ],
        },
        "lr_scheduler": state.lr_scheduler.state_dict(),
        "scaler": None if state.scaler is None else state.scaler.state_dict(),
        "stored": {},
    }
    with disk_errors(folder, CONTINUE), appearing(folder) if main else nullcontext() as partial:
        state.export(partial)
        for name, own in {**state.tensors(), "optimizer": moments}.items():
            tensors = gather(own)  # one kind after the other: each may be as large as the network
            if partial is not None:
                elsewhere = {} if name == "optimizer" else tensor_files.find(partial, tensors)
                content["stored"][name] = elsewhere
                tensor_files.write(partial / f"{name}.safetensors", tensors, without=elsewhere)
            del tensors
        if partial is not None:
            files = sorted(path for path in partial.rglob("*") if path.is_file())
            content["sha256"] = {path.relative_to(partial).as_posix(): file_hash(path) for path in files}
            (partial / "state.json").write_text(json.dumps(content), encoding="utf-8")
    process_state().wait_for_everyone()


def load(folder: Path, state: State, *, run: dict[str, Any], fixed: dict[str, Any]) -> int:
    """Take up a checkpoint's state, in place. Returns the number of steps it has behind it.

    Args:
        fixed: the arguments that must be the run's, with what they were before they existed; see `fixed_fields`.

    Raises:
        UserError: it belongs to another base, other data or other arguments, or is damaged.
    """
    saved = _read_state(folder)
    check_same_run(folder, saved["run"], run, fixed)
    stored = saved.get("stored", {})
    for name, ours in state.tensors().items():
        theirs = tensor_files.read(folder, name, stored.get(name, {}))
        if {key: value.shape for key, value in theirs.items()} != {key: value.shape for key, value in ours.items()}:
            raise UserError(f"{folder} trains other parameters than this run")
        if name == "task":
            state.task.load_state(theirs)
        else:
            for key, tensor in ours.items():
                tensor.copy_(split_like(tensor, theirs[key]))
    moments = tensor_files.read(folder, "optimizer", {})
    restore_state(state.optimizer, moments | saved["optimizer"]["numbers"], saved["optimizer"]["param_groups"])
    state.lr_scheduler.load_state_dict(saved["lr_scheduler"])
    if state.scaler is not None and saved["scaler"] is not None:  # else it began where there was no fp16: a new one
        state.scaler.load_state_dict(saved["scaler"])
    return saved["step"]


def trainable(task: TrainingTask) -> dict[str, Tensor]:
    """What is trained, by parameter name; the tensors share the parameters' memory."""
    return {name: parameter.detach() for name, parameter in task.named_parameters() if parameter.requires_grad}


def check_same_run(folder: Path, theirs: dict[str, Any], ours: dict[str, Any], fixed: dict[str, Any]) -> None:
    """Raise a UserError naming the first thing in which two runs differ so that one can't continue the other."""
    if not same_base(theirs["base_hash"], ours["base_hash"]):
        raise UserError(
            f"{folder} is a checkpoint of another base ({theirs['base_hash']}, not {ours['base_hash']}):"
            " give the --pretrained_model_name_or_path it began with, or choose another --output_dir"
        )
    there, here = theirs["arguments"], ours["arguments"]
    compared = (theirs.keys() | ours.keys()) - {"arguments", "base_hash", "data"}
    pairs = [(key, theirs.get(key), ours.get(key)) for key in compared]
    pairs += [(key, there.get(key, default), here[key]) for key, default in fixed.items()]
    pairs += [(key, value, None) for key, value in there.items() if key not in here]
    pairs.sort(key=itemgetter(0))
    if differences := [f"{key} {was!r} there, {now!r} here" for key, was, now in pairs if was != now]:
        raise UserError(
            f"{folder} belongs to another run ({'; '.join(differences)}): give its arguments, or another --output_dir"
        )
    if "data" not in theirs:
        process_state().print(f"{folder.name} does not say what data it began with: whether it is this is not checked")
    elif theirs["data"] != ours["data"]:
        raise UserError(
            f"{folder} was trained on other data (pictures, prompts or labels are not the same): give the data it began"
            " with, or another --output_dir"
        )


def prune(output_dir: Path, limit: int) -> None:
    """Delete the oldest checkpoints beyond `limit`; call it after a new one is complete, from one process."""
    for folder in complete(output_dir)[:-limit]:
        shutil.rmtree(folder.rename(partial_folder(folder)))  # never half a checkpoint by its name


def remove_leftovers(output_dir: Path) -> None:
    """Remove what a killed process was writing or deleting."""
    for partial in output_dir.glob(".checkpoint-*.partial"):
        shutil.rmtree(partial)


def _numbered(output_dir: Path) -> list[Path]:
    found = [folder for folder in output_dir.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", folder.name)]
    return sorted(found, key=steps_done)


def steps_done(folder: Path | None) -> int:
    """The steps that a checkpoint has behind it, by its name; None has none."""
    return int(folder.name.removeprefix("checkpoint-")) if folder else 0


def _read_state(folder: Path) -> dict[str, Any]:
    """A checkpoint's state.json, once all files are found to be as they were written."""
    try:
        state = _read_json(folder / "state.json")
        for name, sha256 in state.get("sha256", {}).items():
            if file_hash(folder / name) != sha256:
                raise UserError(f"{folder} is damaged ({name} is not as it was written): {tensor_files.TAKE_OUT}")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} is damaged ({error}): {tensor_files.TAKE_OUT}") from None
    return state


def _read_json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
