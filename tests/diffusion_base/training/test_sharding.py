"""What is trained split over two processes, on the CPU: one launch in which everything is done.

By torch's `fully_shard` over gloo; and by DeepSpeed's ZeRO-2, where DeepSpeed is installed (accelerate runs it on GPUs
alone, so it is told that the CPU is none).
"""

import importlib.util
import json
import os
import shutil

import pytest
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from diffusion_base import processes
from diffusion_base.errors import UserError
from diffusion_base.training import arguments, launch, sharding, zero2
from diffusion_base.training.checkpoint import complete
from diffusion_base.training.loop import train
from diffusion_base.training.tracking import read_history
from tests.diffusion_base.toy import ToyData, ToyTask, toy_arguments, toy_file
from tests.forked import in_two_processes

OPTIONS = {"lr_scheduler": "constant", "max_grad_norm": 0.5, "checkpointing_steps": 2, "validation_steps": 4}
OPTIONS |= {"use_ema": True, "ema_decay": 0.7, "logging_steps": 1, "resume_from_checkpoint": "latest"}


class SplitTask(ToyTask):
    """Trains a block, which is a part of its own, and three numbers of the root's, an odd lot for two processes."""

    def __init__(self):
        super().__init__()
        self.trained = nn.Sequential(self.trained)
        self.slope = nn.Parameter(torch.full((3,), 0.5))

    def forward(self, batch):
        loss, metrics = super().forward(batch)
        return loss + (batch["x"][:, :3] * self.slope - 1).square().mean(1), metrics

    def save(self, folder):
        assert type(self.trained) is nn.Sequential  # not the split one's class, which no library would know
        (folder / "toy").mkdir(exist_ok=True)
        tensors = {name: parameter.data for name, parameter in self.named_parameters() if parameter.requires_grad}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, toy_file(folder))


def run(output_dir, steps, **options):
    """Train; the pictures of the last step are numbers here, of the trained layer called by itself."""
    task = SplitTask()
    rank = os.environ.get("RANK", "0")

    def validate(folder, step):
        with torch.no_grad():  # no process waits for another's calls, nor for its `to`
            outputs = [task.trained.to("cpu")(torch.ones(4)) * task.slope.sum() for _ in range(1 + 2 * int(rank))]
        torch.save(outputs[-1], folder / f"{rank}.pt")

    arguments = toy_arguments(output_dir, max_train_steps=steps, **OPTIONS, **options)
    train(task, ToyData(), arguments, validate=validate)
    return task


def record_gradients(file):
    """Keep what the optimizer is given at its first step."""

    def record(optimizer, *_):
        parameters = enumerate(optimizer.param_groups[0]["params"])
        gradients = {str(number): sharding.whole(parameter.grad).clone() for number, parameter in parameters}
        if not file.exists() and os.environ.get("RANK", "0") == "0":
            save_file(gradients, file)

    return register_optimizer_step_pre_hook(record)


def in_two(folder, way):
    """One of two processes: a run from the start, the continuation of one process's, and what is refused."""
    sharding.SMALLEST_PART = 10
    if way == "fsdp2":
        os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
        record_gradients(folder / "two.safetensors")
    else:
        os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}
        os.environ["DS_ACCELERATOR"] = "cpu"
        processes.use_cpu = arguments.use_cpu = launch.use_cpu = lambda: False
        PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_CPU)
    task = run(folder / "two", 4, train_batch_size=2)
    split = {name for name, parameter in task.named_parameters() if isinstance(parameter, DTensor)}
    assert split == ({"trained.0.weight", "trained.0.bias", "slope"} if way == "fsdp2" else set())
    run(folder / "one then two", 4, train_batch_size=1, gradient_accumulation_steps=2)
    if way == "zero2":  # Diffusion-KTO's own command and configuration
        os.environ["ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE"] = "cpu"
        run(folder / "published", 1, mixed_precision="fp16", use_8bit_adam=True)
    with pytest.raises(UserError, match="--optimizer adamw"):
        run(folder / "adafactor", 4, optimizer="adafactor")
    if (rank := os.environ["RANK"]) == "0":
        shutil.copytree(folder / "two", folder / "seen by 0")
    with pytest.raises(UserError, match="the machines don't see the same folder"):
        run(folder / f"seen by {rank}", 4, train_batch_size=2)
    os.environ |= {"FSDP_VERSION": "1", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}
    with pytest.raises(UserError, match="say (fsdp_version: 2|zero_stage: 2), as scripts/accelerate/"):
        run(folder / "refused", 4)
    os.environ |= {"FSDP_CPU_RAM_EFFICIENT_LOADING": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}
    os.environ["ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE"] = "cpu"
    with pytest.raises(UserError, match="(fsdp_cpu_ram_efficient_loading|offload_optimizer_device) can't be used here"):
        run(folder / "refused", 4)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The run of one process."""
    folder = tmp_path_factory.mktemp("one")
    handle = record_gradients(folder / "gradients.safetensors")
    run(folder, 4, train_batch_size=4)
    handle.remove()
    return folder


NO_DEEPSPEED = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed")


@pytest.fixture(scope="module", params=["fsdp2", pytest.param("zero2", marks=NO_DEEPSPEED)])
def folder(request, one, tmp_path_factory):
    """The same run by two processes, by one and then two, and by two and then one."""
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(one / "checkpoint-2", folder / "one then two" / "checkpoint-2")
    in_two_processes(in_two, folder, request.param)
    shutil.copytree(folder / "two" / "checkpoint-2", folder / "two then one" / "checkpoint-2")
    run(folder / "two then one", 4, train_batch_size=4)
    return folder


def assert_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-7)


def test_the_first_gradient_is_one_processs(one, folder):
    if (folder / "two.safetensors").exists():  # ZeRO-2 gives its optimizer all gradients in one row
        assert_close(load_file(folder / "two.safetensors"), load_file(one / "gradients.safetensors"))
    first = [read_history(run)[0]["grad_norm"] for run in (folder / "two", one)]
    assert first[0] == pytest.approx(first[1], rel=1e-5)


@pytest.mark.parametrize("runs", ["two", "one then two", "two then one"])
def test_steps_clipping_average_export_and_continuation_are_one_processs(one, folder, runs):
    """Exported is the moving average, whole; the checkpoint holds the weights beside it; norms are before clipping."""
    ours = folder / runs
    assert [checkpoint.name for checkpoint in complete(ours)] == ["checkpoint-2", "checkpoint-4"]
    assert_close(load_file(toy_file(ours)), load_file(toy_file(one)))
    for file in ("trainable.safetensors", "optimizer.safetensors", "toy/toy.safetensors"):
        assert_close(*(load_file(run / "checkpoint-4" / file) for run in (ours, one)))
    norms = [[row["grad_norm"] for row in read_history(run)][-2:] for run in (ours, one)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5) and min(norms[0]) > OPTIONS["max_grad_norm"]
    state = [json.loads((run / "checkpoint-4" / "state.json").read_text()) for run in (ours, one)]
    assert state[0]["stored"] == state[1]["stored"] and len(state[0]["stored"]["ema"]) == 3


def test_what_is_trained_runs_by_itself_for_validation(one, folder):
    expected = torch.load(one / "validation/0.pt")
    for rank in range(2):
        picture = torch.load(folder / f"two/validation/{rank}.pt")
        torch.testing.assert_close(picture, expected, rtol=1e-5, atol=1e-7)


def test_deepspeed_is_told_what_our_flags_say(tmp_path, monkeypatch):
    """And is asked for only where a GPU is; what it can't do is refused."""
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert not processes.wants_deepspeed()
    with pytest.raises(UserError, match="DeepSpeed, which is not installed"):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        zero2.plugin(toy_arguments(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    told = {"train_batch_size": 3, "gradient_accumulation_steps": 4, "max_grad_norm": 0.5, "mixed_precision": "bf16"}
    config = zero2.plugin(toy_arguments(tmp_path, **told)).deepspeed_config
    assert config["zero_optimization"]["stage"] == 2 and not config["bf16"]["enabled"]
    names = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
    assert [config[name] for name in names] == [3, 4, 0.5]
    unclipped = zero2.plugin(toy_arguments(tmp_path, max_grad_norm=float("inf"))).deepspeed_config
    assert unclipped["gradient_clipping"] == 0
