"""A run that is killed, at whatever moment, continues exactly; what must not be continued is refused."""

import errno
import json
import resource
import shutil
import signal

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from torch.amp import GradScaler
from torch.optim.lr_scheduler import LambdaLR

from diffusion_base.errors import UserError
from diffusion_base.files import appearing, disk_errors
from diffusion_base.training import checkpoint, tensor_files
from tests.diffusion_base.toy import ToyTask, run_killed_in_pruning, run_toy, toy_file, weights
from tests.forked import in_process
from tests.tiny import tiny_pipeline

KILLED = -signal.SIGKILL
RUN = {"base_hash": "", "data_size": 1, "data": "", "samples_per_step": 1, "schedule_length": 1, "arguments": {}}
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
    save_file = tensor_files.save_file

    def full(tensors, file):
        if file.parent.name == ".checkpoint-6.partial" and file.name == "optimizer.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, file)

    with monkeypatch.context() as patch:
        patch.setattr(tensor_files, "save_file", full)
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
                tensor_files.save_file({"a": torch.zeros(1000)}, partial / "a.safetensors")
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
    with pytest.raises(UserError, match="weight_decay 0.01 there, 0.0 here"):
        run_toy(tmp_path, max_train_steps=3, adam_weight_decay=0.0, resume_from_checkpoint="latest")
    with pytest.raises(UserError, match="no such checkpoint.*there are: checkpoint-3"):
        run_toy(tmp_path, max_train_steps=3, resume_from_checkpoint="checkpoint-4")
    assert json.loads((tmp_path / "training.json").read_text())["finished_steps"] == 3

    toy_file(tmp_path / "checkpoint-3").write_bytes(b"half")
    with pytest.raises(UserError, match="checkpoint-3 is damaged"):
        run_toy(tmp_path, max_train_steps=3, resume_from_checkpoint="latest")
    shutil.rmtree(tmp_path / "checkpoint-3")
    with pytest.raises(UserError, match="finished run without checkpoints"):
        run_toy(tmp_path, max_train_steps=3, resume_from_checkpoint="latest")


def test_checkpoints_of_another_program_are_not_run_into(tmp_path):
    (tmp_path / "checkpoint-500" / "value_encoder").mkdir(parents=True)
    with pytest.raises(UserError, match="checkpoint-500 is no checkpoint of this repository"):
        run_toy(tmp_path)


def test_a_path_continues_its_own_run_and_no_other(tmp_path):
    for run in ("one", "other"):
        run_toy(tmp_path / run, max_train_steps=3, lr_scheduler="constant")
    options = {"max_train_steps": 4, "lr_scheduler": "constant"}
    elsewhere = str(tmp_path / "other" / "checkpoint-3")
    with pytest.raises(UserError, match=f"{elsewhere} does not lie in .*one: .*give --output_dir .*other$"):
        run_toy(tmp_path / "one", resume_from_checkpoint=elsewhere, **options)
    run_toy(tmp_path / "one", resume_from_checkpoint=str(tmp_path / "other" / ".." / "one" / "checkpoint-3"), **options)
    assert names(tmp_path / "one") == ["checkpoint-3", "checkpoint-4"]


def test_changed_data_is_refused_and_moved_data_is_not(tmp_path, capsys):
    options = {"lr_scheduler": "constant", "resume_from_checkpoint": "latest"}
    run_toy(tmp_path, max_train_steps=3, **options)
    with pytest.raises(UserError, match="checkpoint-3 was trained on other data"):
        run_toy(tmp_path, max_train_steps=4, data="relabelled", **options)
    file = tmp_path / "checkpoint-3" / "state.json"
    state = json.loads(file.read_text())
    del state["run"]["data"]  # as before there were fingerprints
    file.write_text(json.dumps(state))
    capsys.readouterr()
    run_toy(tmp_path, max_train_steps=4, data="relabelled", **options)
    assert "checkpoint-3 does not say what data it began with" in capsys.readouterr().out


def test_a_run_from_before_a_flag_and_checksums_continues(tmp_path):
    """An old checkpoint: all that is trained in trainable.safetensors, no list of places or sums, fewer arguments."""
    whole = tmp_path / "whole"
    run_toy(whole, max_train_steps=6)
    run_toy(tmp_path, max_train_steps=6)
    shutil.rmtree(tmp_path / "checkpoint-6")
    folder = tmp_path / "checkpoint-3"
    trained = {f"trained.{name}": tensor for name, tensor in load_file(toy_file(folder)).items()}
    tensor_files.save_file(trained, folder / "trainable.safetensors")
    state = json.loads((folder / "state.json").read_text())
    del state["sha256"], state["stored"], state["run"]["arguments"]["optimizer"], state["run"]["data"]
    (folder / "state.json").write_text(json.dumps(state))
    run_toy(tmp_path, max_train_steps=6, resume_from_checkpoint="latest")
    assert weights(tmp_path) == weights(whole)
    shutil.rmtree(tmp_path / "checkpoint-6")
    with pytest.raises(UserError, match="optimizer 'adamw' there, 'adafactor' here"):
        run_toy(tmp_path, max_train_steps=6, optimizer="adafactor", resume_from_checkpoint="latest")


def test_four_flipped_bytes_are_refused_and_never_called_good(tmp_path):
    run_toy(tmp_path, max_train_steps=6)
    assert checkpoint.last_good(tmp_path).name == "checkpoint-6"
    file = toy_file(tmp_path / "checkpoint-6")
    content = bytearray(file.read_bytes())
    content[-4:] = np.float32("nan").tobytes()
    file.write_bytes(content)
    with pytest.raises(UserError, match="checkpoint-6 is damaged .toy/toy.safetensors is not as it was written"):
        run_toy(tmp_path, max_train_steps=6, resume_from_checkpoint="latest")
    assert checkpoint.last_good(tmp_path).name == "checkpoint-3"


@pytest.mark.parametrize("before, after", [(None, GradScaler("cpu")), (GradScaler("cpu"), None)])
def test_fp16_begun_without_a_gpu_continues_with_one_and_the_reverse(tmp_path, before, after):
    def state(scaler):
        task = ToyTask()
        optimizer = torch.optim.AdamW(task.trained.parameters())
        return checkpoint.State(task, optimizer, LambdaLR(optimizer, lambda step: 1.0), scaler)

    checkpoint.save(tmp_path / "checkpoint-1", state(before), step=1, run=RUN)
    assert checkpoint.load(tmp_path / "checkpoint-1", state(after), run=RUN, fixed={}) == 1


def test_what_the_tasks_own_files_hold_is_not_stored_again(tmp_path):
    """The toy saves all that it trains, so nothing is left; of a task that saves a part, the rest is."""
    run_toy(tmp_path, max_train_steps=3)
    folder = tmp_path / "checkpoint-3"
    files = {file.name for file in folder.rglob("*.safetensors")}
    assert files == {"toy.safetensors", "optimizer.safetensors", "task.safetensors"}

    ours = {
        "a": torch.ones(3),
        "negative zero": torch.tensor([-0.0]),
        "half": torch.ones(3).half(),
        "b": torch.zeros(3),
    }
    tensor_files.save_file({"x": torch.ones(3), "zero": torch.tensor([0.0])}, tmp_path / "theirs.safetensors")
    places = tensor_files.find(tmp_path, ours)
    assert places == {"a": ["theirs.safetensors", "x"]}
    tensor_files.write(tmp_path / "rest.safetensors", ours, without=places)
    back = tensor_files.read(tmp_path, "rest", places)
    assert back.keys() == ours.keys() and all(back[name].equal(ours[name]) for name in ours)
    assert load_file(tmp_path / "rest.safetensors").keys() == {"negative zero", "half", "b"}


def test_a_whole_unet_lies_in_a_checkpoint_once_and_opens_there(tmp_path):
    class Task(ToyTask):
        def __init__(self):
            super().__init__()
            self.trained = tiny_pipeline("sd1").unet.requires_grad_(True)

        def save(self, folder):
            self.trained.save_pretrained(folder / "unet")

    def state():
        task = Task()
        optimizer = torch.optim.SGD(task.trained.parameters())
        return checkpoint.State(task, optimizer, LambdaLR(optimizer, lambda step: 1.0), None)

    before, after, folder = state(), state(), tmp_path / "checkpoint-1"
    torch.manual_seed(0)
    for parameter in before.task.trained.parameters():
        torch.nn.init.normal_(parameter)
    checkpoint.save(folder, before, step=1, run=RUN)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    size = sum(parameter.numel() * 4 for parameter in unet.parameters())
    assert size < sum(file.stat().st_size for file in folder.rglob("*.safetensors")) < 1.5 * size
    checkpoint.load(folder, after, run=RUN, fixed={})
    ours = before.task.trained.state_dict()
    assert all(ours[name].equal(tensor) for name, tensor in unet.state_dict().items())
    assert all(ours[name].equal(tensor) for name, tensor in after.task.trained.state_dict().items())
