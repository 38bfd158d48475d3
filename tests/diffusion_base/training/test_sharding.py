"""Parameters split over two processes, by torch's `fully_shard` over gloo: one launch in which everything is done."""

import json
import os
import shutil
import socket

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from diffusion_base.errors import UserError
from diffusion_base.training import sharding
from diffusion_base.training.checkpoint import complete
from diffusion_base.training.loop import train
from diffusion_base.training.tracking import read_history
from tests.diffusion_base.toy import ToyData, ToyTask, start_process, toy_arguments, toy_file

OPTIONS = {"lr_scheduler": "constant", "max_grad_norm": 0.5, "checkpointing_steps": 2, "validation_steps": 4}
OPTIONS |= {"use_ema": True, "ema_decay": 0.7, "logging_steps": 1, "resume_from_checkpoint": "latest"}


class SplitTask(ToyTask):
    """Trains a layer, which is a part of its own, and three numbers of the root's, an odd lot for two processes."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.full((3,), 0.5))

    def forward(self, batch):
        loss, metrics = super().forward(batch)
        return loss + (batch["x"][:, :3] * self.slope - 1).square().mean(1), metrics

    def save(self, folder):
        (folder / "toy").mkdir(exist_ok=True)
        tensors = {name: parameter.data for name, parameter in self.named_parameters() if parameter.requires_grad}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, toy_file(folder))


def run(output_dir, steps, **options):
    """Train; the pictures of the last step are numbers here, of the trained layer called by itself."""
    task = SplitTask()
    calls = 1 + 2 * int(os.environ.get("RANK", 0))  # no process waits for another's calls

    def validate(folder, step):
        with torch.no_grad():
            outputs = [task.trained(torch.ones(4)) * task.slope.sum() for _ in range(calls)]
        torch.save(outputs[-1], folder / f"{os.environ.get('RANK', 0)}.pt")

    def record(optimizer, *_):
        gradients = {
            str(i): sharding.whole(parameter.grad).clone()
            for i, parameter in enumerate(optimizer.param_groups[0]["params"])
        }
        output_dir.mkdir(parents=True, exist_ok=True)
        if not (file := output_dir / "gradients.safetensors").exists() and int(os.environ.get("RANK", 0)) == 0:
            save_file(gradients, file)

    handle = register_optimizer_step_pre_hook(record)
    arguments = toy_arguments(output_dir, max_train_steps=steps, **OPTIONS, **options)
    train(task, ToyData(), arguments, validate=validate)
    handle.remove()
    return task


def in_two(rank, port, folder):
    """One of two processes: a run from the start, and the continuation of one process's."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    sharding.SMALLEST_PART = 10
    task = run(folder / "two", 4, train_batch_size=2)
    split = {name for name, parameter in task.named_parameters() if isinstance(parameter, DTensor)}
    assert split == {"trained.weight", "trained.bias", "slope"}
    run(folder / "one then two", 4, train_batch_size=1, gradient_accumulation_steps=2)
    with pytest.raises(UserError, match="split parameters .* are trained by --optimizer adamw"):
        run(folder / "adafactor", 4, optimizer="adafactor")
    os.environ["FSDP_VERSION"] = "1"
    with pytest.raises(UserError, match="fsdp_version: 2"):
        run(folder / "first version", 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same run by one process, by two, and by one and then the other."""
    folder = tmp_path_factory.mktemp("split")
    run(folder / "one", 4, train_batch_size=4)
    for mixed in ("one then two", "two then one"):
        (folder / mixed).mkdir()
    shutil.copytree(folder / "one" / "checkpoint-2", folder / "one then two" / "checkpoint-2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [start_process(in_two, rank, port, folder) for rank in range(2)]
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    shutil.copytree(folder / "two" / "checkpoint-2", folder / "two then one" / "checkpoint-2")
    run(folder / "two then one", 4, train_batch_size=4)
    return folder


def assert_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-7)


def test_the_first_gradient_is_one_processs(folder):
    assert_close(*(load_file(folder / runs / "gradients.safetensors") for runs in ("two", "one")))


@pytest.mark.parametrize("runs", ["two", "one then two", "two then one"])
def test_steps_clipping_average_export_and_continuation_are_one_processs(folder, runs):
    """Exported is the moving average, whole; the checkpoint holds the weights beside it; norms are before clipping."""
    ours, theirs = folder / runs, folder / "one"
    assert [checkpoint.name for checkpoint in complete(ours)] == ["checkpoint-2", "checkpoint-4"]
    assert_close(load_file(toy_file(ours)), load_file(toy_file(theirs)))
    for file in ("trainable.safetensors", "optimizer.safetensors", "toy/toy.safetensors"):
        assert_close(*(load_file(run / "checkpoint-4" / file) for run in (ours, theirs)))
    norms = [[row["grad_norm"] for row in read_history(run)][-2:] for run in (ours, theirs)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5) and min(norms[0]) > OPTIONS["max_grad_norm"]
    state = [json.loads((run / "checkpoint-4" / "state.json").read_text()) for run in (ours, theirs)]
    assert state[0]["stored"] == state[1]["stored"] and len(state[0]["stored"]["ema"]) == 3


def test_what_is_trained_runs_by_itself_for_validation(folder):
    one = torch.load(folder / "one/validation/0.pt")
    for rank in range(2):
        torch.testing.assert_close(torch.load(folder / f"two/validation/{rank}.pt"), one, rtol=1e-5, atol=1e-7)
