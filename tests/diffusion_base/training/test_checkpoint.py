"""A run that is killed, at whatever moment, continues exactly; what must not be continued is refused."""

import errno
import json
import resource
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file

from diffusion_base.errors import UserError
from diffusion_base.files import appearing, disk_errors
from diffusion_base.training import checkpoint
from tests.diffusion_base.toy import in_process, run_killed_in_pruning, run_toy, weights

KILLED = -signal.SIGKILL
DROPOUT = {"dropout": 0.25}  # draws from torch's global generator
EMA = {"use_ema": True, "ema_decay": 0.7}


def names(output_dir):
    return [folder.name for folder in checkpoint.complete(output_dir)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """12 steps; an epoch has 5. The weights are the moving average's."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert in_process(run_toy, folder, DROPOUT, **EMA) == 0
    return weights(folder)


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_runs_continue_bit_for_bit(tmp_path, uninterrupted, workers):
    """Killed in the first epoch, in the second, in the middle of saving, and while saving the final weights."""
    options = {"dataloader_num_workers": workers, "resume_from_checkpoint": "latest", **EMA}
    assert in_process(run_toy, tmp_path, DROPOUT | {"kill_at": 5}, **options) == KILLED
    assert names(tmp_path) == ["checkpoint-3"]
    assert in_process(run_toy, tmp_path, DROPOUT | {"kill_at": 8}, **options) == KILLED
    assert names(tmp_path) == ["checkpoint-3", "checkpoint-6"]
    assert in_process(run_toy, tmp_path, DROPOUT | {"kill_in_save": ".checkpoint-9.partial"}, **options) == KILLED
    assert (tmp_path / ".checkpoint-9.partial").is_dir() and names(tmp_path) == ["checkpoint-3", "checkpoint-6"]
    assert in_process(run_toy, tmp_path, DROPOUT | {"kill_in_save": tmp_path.name}, **options) == KILLED
    assert names(tmp_path) == [f"checkpoint-{step}" for step in (3, 6, 9, 12)]
    assert in_process(run_toy, tmp_path, DROPOUT, **options) == 0
    assert weights(tmp_path) == weights(tmp_path / "checkpoint-12") == uninterrupted
    assert load_file(tmp_path / "checkpoint-12/task.safetensors")["steps_seen"] == 12  # the task's own state
    assert not list(tmp_path.glob(".*"))


def test_an_earlier_checkpoint_continues_once_later_ones_are_out_of_the_way(tmp_path, uninterrupted):
    run_toy(tmp_path, DROPOUT, **EMA)
    with pytest.raises(UserError, match="checkpoint-6 is followed by checkpoint-9, checkpoint-12"):
        run_toy(tmp_path, DROPOUT, resume_from_checkpoint="checkpoint-6", **EMA)
    for step in (9, 12):
        (tmp_path / f"checkpoint-{step}").rename(tmp_path / f"aside-{step}")
    run_toy(tmp_path, DROPOUT, resume_from_checkpoint="checkpoint-6", **EMA)
    assert weights(tmp_path) == uninterrupted


def test_the_same_batch_may_be_cut_otherwise_when_continued(tmp_path):
    """1 × 2 samples a step, then 2 × 1: the same run up to rounding. Longer training continues a constant schedule."""
    run_toy(tmp_path, lr_scheduler="constant", max_train_steps=3)
    options = {"lr_scheduler": "constant", "resume_from_checkpoint": "latest"}
    run_toy(tmp_path, max_train_steps=5, train_batch_size=1, gradient_accumulation_steps=2, **options)
    assert names(tmp_path) == ["checkpoint-3", "checkpoint-5"]
    with pytest.raises(UserError, match="samples_per_step 2 there, 4 here"):
        run_toy(tmp_path, train_batch_size=4, **options)


def test_old_checkpoints_go_only_when_the_new_one_is_complete(tmp_path, monkeypatch):
    seen = []
    appearing, prune = checkpoint.appearing, checkpoint.prune

    def watch_write(folder):
        seen.append(("writing", folder.name, names(folder.parent)))
        return appearing(folder)

    def watch_prune(output_dir, limit):
        seen.append(("pruning", limit, names(output_dir)))
        prune(output_dir, limit)

    monkeypatch.setattr(checkpoint, "appearing", watch_write)
    monkeypatch.setattr(checkpoint, "prune", watch_prune)
    run_toy(tmp_path, max_train_steps=9, checkpoints_total_limit=1)
    assert seen == [
        ("writing", "checkpoint-3", []),
        ("pruning", 1, ["checkpoint-3"]),
        ("writing", "checkpoint-6", ["checkpoint-3"]),
        ("pruning", 1, ["checkpoint-3", "checkpoint-6"]),
        ("writing", "checkpoint-9", ["checkpoint-6"]),
        ("pruning", 1, ["checkpoint-6", "checkpoint-9"]),
    ]
    assert names(tmp_path) == ["checkpoint-9"]


def test_killed_while_pruning(tmp_path):
    options = {"checkpoints_total_limit": 1, "max_train_steps": 6}
    assert in_process(run_killed_in_pruning, tmp_path, **options) == KILLED
    assert names(tmp_path) == ["checkpoint-6"] and (tmp_path / ".checkpoint-3.partial").is_dir()
    run_toy(tmp_path, resume_from_checkpoint="latest", **options)
    assert not list(tmp_path.glob(".*"))


def test_full_disk_while_saving_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    options = {"resume_from_checkpoint": "latest", "max_train_steps": 6}
    whole = tmp_path / "whole"
    run_toy(whole, **options)
    save_file = checkpoint.save_file

    def full(tensors, file):
        if file.parent.name == ".checkpoint-6.partial" and file.name == "optimizer.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, file)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(UserError, match="checkpoint-6 can't be written.*No space left.*resume_from_checkpoint"):
            run_toy(tmp_path, **options)
    assert names(tmp_path) == ["checkpoint-3"] and not list(tmp_path.glob(".*"))
    run_toy(tmp_path, **options)
    assert weights(tmp_path) == weights(whole)


def test_a_write_that_really_fails(tmp_path):
    """Files over the process' size limit fail in safetensors' own writer, as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(UserError, match="can't be written"):
            with disk_errors(tmp_path), appearing(tmp_path / "checkpoint-1") as partial:
                checkpoint.save_file({"a": torch.zeros(1000)}, partial / "a.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path):
    run_toy(tmp_path, max_train_steps=3)
    with pytest.raises(UserError, match="holds a run already.*--resume_from_checkpoint latest.*--output_dir"):
        run_toy(tmp_path, max_train_steps=3)
    with pytest.raises(UserError, match="learning_rate 0.01 there, 0.02 here"):
        run_toy(tmp_path, max_train_steps=3, learning_rate=0.02, resume_from_checkpoint="latest")
    with pytest.raises(UserError, match="schedule_length 3 there, 4 here"):
        run_toy(tmp_path, max_train_steps=4, resume_from_checkpoint="latest")
    with pytest.raises(UserError, match="checkpoint of another base .base, not other"):
        run_toy(tmp_path, {"base_hash": "other"}, max_train_steps=3, resume_from_checkpoint="latest")
    with pytest.raises(UserError, match="no such checkpoint.*there are: checkpoint-3"):
        run_toy(tmp_path, max_train_steps=3, resume_from_checkpoint="checkpoint-4")
    assert json.loads((tmp_path / "training.json").read_text())["finished_steps"] == 3

    (tmp_path / "checkpoint-3" / "trainable.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match="checkpoint-3 is damaged"):
        run_toy(tmp_path, max_train_steps=3, resume_from_checkpoint="latest")
    shutil.rmtree(tmp_path / "checkpoint-3")
    with pytest.raises(UserError, match="finished run without checkpoints"):
        run_toy(tmp_path, max_train_steps=3, resume_from_checkpoint="latest")


def test_checkpoints_of_another_program_are_not_run_into(tmp_path):
    (tmp_path / "checkpoint-500" / "value_encoder").mkdir(parents=True)
    with pytest.raises(UserError, match="checkpoint-500 is no checkpoint of this repository"):
        run_toy(tmp_path)
