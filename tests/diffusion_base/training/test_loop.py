"""The loop: the same step however its samples are spread, and one clear sentence when it can't go on."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from diffusion_base.errors import UserError
from diffusion_base.families import family_of
from diffusion_base.training.batches import BatchOrder, load_batches
from diffusion_base.training.checkpoint import complete
from diffusion_base.training.launch import use_xformers
from diffusion_base.training.loop import train
from tests.diffusion_base import toy
from tests.diffusion_base.toy import ToyData, ToyTask, record_gradients, run_toy, toy_arguments, weights
from tests.tiny import tiny_pipeline


def gradients(output_dir):
    """What the optimizer was given at each step of `toy.main`."""
    files = sorted((output_dir / "gradients").glob("*.safetensors"), key=lambda file: int(file.stem))
    return [load_file(file) for file in files]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """Three steps of four samples, in one process and one batch."""
    folder = tmp_path_factory.mktemp("one")
    handle = record_gradients(folder)
    run_toy(folder, train_batch_size=4, max_train_steps=3, max_grad_norm=1e9)
    handle.remove()
    return gradients(folder)


def assert_same_steps(steps, expected):
    assert len(steps) == len(expected) == 3
    for ours, theirs in zip(steps, expected, strict=True):
        for name in theirs:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-8)


def test_accumulation_equals_the_big_batch(tmp_path, one_process):
    handle = record_gradients(tmp_path)
    run_toy(tmp_path, train_batch_size=1, gradient_accumulation_steps=4, max_train_steps=3, max_grad_norm=1e9)
    handle.remove()
    assert_same_steps(gradients(tmp_path), one_process)


def test_two_processes_equal_one_with_the_doubled_batch(tmp_path, one_process):
    """The gradient of each step and the learning rate, also where the loss takes a mean over the step. Only the main
    process saves and prunes; all make validation pictures."""
    # With `--cpu`, accelerate 1.15 starts one process whatever --num_processes says (it leaves more to mpirun).
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    command = [sys.executable, *launch, "-m", "tests.diffusion_base.toy", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "2 process(es)" in result.stdout
    assert_same_steps(gradients(tmp_path / "plain"), one_process)
    assert [folder.name for folder in complete(tmp_path / "plain")] == ["checkpoint-3"]
    assert len(list((tmp_path / "plain/validation").iterdir())) == 2

    handle = record_gradients(tmp_path / "one")
    run_toy(tmp_path / "one", {"step_mean": True}, train_batch_size=4, max_train_steps=3, max_grad_norm=1e9)
    handle.remove()
    assert_same_steps(gradients(tmp_path / "means"), gradients(tmp_path / "one"))
    assert (one_process[0]["0"] - gradients(tmp_path / "one")[0]["0"]).abs().max() > 0.1


def test_gradient_is_that_of_the_mean_over_the_steps_samples(one_process):
    """The first step's gradient, from the samples that (seed 42, epoch 0) puts first."""
    order = BatchOrder(toy.SAMPLES, batch_size=4, seed=42)
    batch = next(load_batches(ToyData(), order, range(1)))
    task = ToyTask()
    task(batch)[0].mean().backward()
    torch.testing.assert_close(one_process[0]["0"], task.trained.weight.grad)
    assert one_process[0]["lr"] == 0 and one_process[1]["lr"] == pytest.approx(0.005)  # warm-up over two steps


def test_order_covers_each_epoch_once_and_begins_anywhere():
    whole = BatchOrder(10, batch_size=2, seed=1)
    whole.steps = range(10)
    batches = list(whole)
    epochs = [[index for batch in batches[first : first + 5] for _, index in batch] for first in (0, 5)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10)) and epochs[0] != epochs[1]
    later = BatchOrder(10, batch_size=1, processes=2, rank=1, seed=1)
    later.steps = range(7, 10)
    assert list(later) == [batch[1:] for batch in batches[7:]]


def test_items_get_a_generator_of_their_own():
    """The same with and without workers; another one for each step and each sample."""

    class Draws:
        def __len__(self):
            return 4

        def item(self, index, rng):
            return {"draw": int(rng.integers(2**62))}

    batches = [
        torch.cat([batch["draw"] for batch in load_batches(Draws(), BatchOrder(4, 2), range(4), num_workers=workers)])
        for workers in (0, 1)
    ]
    assert batches[0].equal(batches[1]) and batches[0].unique().numel() == 8


def test_nan_stops_at_its_step_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(UserError, match="NaN or infinite at step 5; checkpoint-3 is the last good checkpoint"):
        run_toy(tmp_path, {"nan_at": 5})
    assert [folder.name for folder in complete(tmp_path)] == ["checkpoint-3"]
    assert not (tmp_path / "toy").exists()
    assert all(np.isfinite(tensor).all() for tensor in map(np.frombuffer, weights(tmp_path / "checkpoint-3").values()))
    run_toy(tmp_path, resume_from_checkpoint="latest")  # a cause that is gone


def test_faults_of_data_and_arguments(tmp_path):
    with pytest.raises(UserError, match="a step takes 16 samples .*the data has only 10"):
        run_toy(tmp_path, train_batch_size=4, gradient_accumulation_steps=4)
    with pytest.raises(UserError, match="--train_batch_size 0"):
        run_toy(tmp_path, train_batch_size=0)

    class Broken(ToyData):
        def item(self, index, rng):
            raise UserError(f"picture {index} is broken")

    for workers in (0, 1):  # no traceback of the worker around the sentence
        with pytest.raises(UserError, match=r"^picture \d is broken$"):
            arguments = toy_arguments(tmp_path / f"broken-{workers}", dataloader_num_workers=workers)
            train(ToyTask(), Broken(), arguments)


def test_what_has_no_effect_is_said_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", {}.get)
    options = {"lr_scheduler": "constant", "mixed_precision": "fp16", "max_train_steps": 1, "report_to": "wandb"}
    options["use_8bit_adam"] = True
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    run_toy(tmp_path, resume_from_checkpoint="latest", **options)
    lines = capsys.readouterr().out.splitlines()
    first = ["training:", "--lr_warmup_steps", "--mixed_precision", "AdamW's", "the", "--report_to", "no"]
    assert [line.split(" ")[0] for line in lines] == first
    assert list((tmp_path / "logs").rglob("events.out.tfevents.*"))


@pytest.mark.parametrize("kind", ["sd1", "sd3"])
def test_without_xformers_torchs_attention_stays(kind, capsys):
    use_xformers(torch.nn.ModuleList([family_of(pipeline := tiny_pipeline(kind)).denoiser(pipeline)]))
    assert capsys.readouterr().out.startswith("torch's own attention is used; xformers' is not available here")


def test_a_run_leaves_weights_arguments_pictures_and_curves(tmp_path, capsys):
    """Trained parts moved, frozen ones did not; one process may train again in another precision."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def validate(folder, step):
        assert not task.training
        return {"base": [Image.new("RGB", (8, 8))] * 2, "aligned": [Image.new("RGB", (8, 8), "red")]}

    for precision in ("no", "bf16"):
        output_dir = tmp_path / precision
        task = ToyTask()
        before = {name: value.clone() for name, value in task.state_dict().items()}
        arguments = toy_arguments(
            output_dir, report_to="tensorboard", validation_steps=2, logging_steps=2, mixed_precision=precision,
            max_train_steps=4, lr_scheduler="constant",
        )  # fmt: skip
        train(task, ToyData(), arguments, validate=validate)
        moved = {name: not value.equal(before[name]) for name, value in task.state_dict().items()}
        assert moved == {"frozen.weight": False, "frozen.bias": False, "trained.weight": True, "trained.bias": True}
        assert task.trained.training and not task.frozen.training

    assert json.loads((output_dir / "training.json").read_text())["arguments"]["learning_rate"] == 0.01
    assert sorted(file.name for file in (output_dir / "validation").iterdir()) == [
        f"step-{step}-{name}.png" for step in (2, 4) for name in ("aligned-0", "base-0", "base-1")
    ]
    events = EventAccumulator(str(output_dir / "logs")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [2, 3, 4]
    for loss, double in zip(events.Scalars("loss"), events.Scalars("double"), strict=True):
        assert double.value == pytest.approx(2 * loss.value)
    assert {"lr", "grad_norm"} <= set(events.Tags()["scalars"]) and "validation/base" in str(events.Tags()["images"])
    bar = capsys.readouterr().err.rsplit("\r", 1)[-1]
    assert "4/4" in bar and "loss=" in bar
