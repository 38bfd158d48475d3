"""A training task small enough to be exact and fast, and processes that run it and may be killed.

The task has a frozen and a trained linear layer with dropout, noise drawn as tasks should draw it, and data that
uses its generator.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from diffusion_base.noising import draw_noise
from diffusion_base.training import checkpoint
from diffusion_base.training.arguments import TrainingArguments
from diffusion_base.training.loop import train
from diffusion_base.training.task import TrainingTask

WIDTH = 4
SAMPLES = 10


class ToyData:
    def __init__(self, fingerprint="data"):
        self.known_by = fingerprint

    def __len__(self):
        return SAMPLES

    def fingerprint(self):
        return self.known_by

    def item(self, index, rng):
        x = torch.linspace(-1, 1, WIDTH) * (index + 1) / SAMPLES
        return {"x": x + 0.1 * float(rng.standard_normal()), "name": f"sample {index}"}


class ToyTask(TrainingTask):
    """`kill_at` ends the process by SIGKILL at the start of that forward pass; `nan_at` makes that loss NaN.

    `step_mean` has each sample's loss depend on all of the step; `steps_seen` is resumed beside what is trained.
    """

    def __init__(self, dropout=0.0, kill_at=None, kill_in_save=None, nan_at=None, base_hash="base", step_mean=False):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.frozen, self.trained, self.dropout = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Dropout(dropout)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        self.frozen.requires_grad_(False)
        self.uses_step_means, self.steps_seen = step_mean, torch.zeros(1)
        self.base_hash, self.kill_at, self.kill_in_save, self.nan_at = base_hash, kill_at, kill_in_save, nan_at

    def forward(self, batch):
        assert batch["name"] == [f"sample {index}" for index in batch["index"].tolist()]
        step = int(batch["step"][0]) + 1
        if step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        noise = draw_noise((WIDTH,), 0, batch["step"], batch["index"])
        error = (self.dropout(self.trained(batch["x"] + noise)) - self.frozen(batch["x"])).square().mean(1)
        if self.uses_step_means:
            error = error * self.mean_over_step(error)
        if step == self.nan_at:
            error = error * torch.nan
        return error, {"double": 2 * error.detach()}

    def after_step(self, step):
        self.steps_seen += 1

    def state(self):
        return {"steps_seen": self.steps_seen}

    def load_state(self, tensors):
        self.steps_seen.copy_(tensors["steps_seen"])

    def save(self, folder):
        (folder / "toy").mkdir(exist_ok=True)
        save_file({name: value.contiguous() for name, value in self.trained.state_dict().items()}, toy_file(folder))
        if folder.name == self.kill_in_save:
            os.kill(os.getpid(), signal.SIGKILL)


def toy_file(folder):
    return Path(folder) / "toy" / "toy.safetensors"


def weights(folder):
    """The saved weights, as bytes: equal only if every bit is."""
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(toy_file(folder)).items()}


def toy_arguments(output_dir, **options):
    defaults = {"train_batch_size": 2, "max_train_steps": 12, "checkpointing_steps": 3, "learning_rate": 0.01}
    defaults |= {"lr_scheduler": "linear", "lr_warmup_steps": 2, "report_to": "none"}
    return TrainingArguments(output_dir=str(output_dir), **(defaults | options))


def run_toy(output_dir, task=None, validate=None, data="data", **options):
    arguments = toy_arguments(output_dir, **options)
    return train(ToyTask(**(task or {})), ToyData(data), arguments, validate=validate)


def run_killed_in_pruning(output_dir, **options):
    """As `run_toy`, but killed when the first checkpoint is about to be deleted."""
    remove = checkpoint.shutil.rmtree

    def kill(folder, ignore_errors=False):
        if not ignore_errors:
            os.kill(os.getpid(), signal.SIGKILL)
        remove(folder, ignore_errors=True)

    checkpoint.shutil.rmtree = kill
    run_toy(output_dir, **options)


def main():
    """For `accelerate launch`: three steps without and with a step mean, whose gradients go to OUTPUT/…/gradients."""
    for name, task in (("plain", {}), ("means", {"step_mean": True})):
        output_dir = Path(sys.argv[1]) / name
        handle = record_gradients(output_dir)
        run_toy(
            output_dir,
            task,
            train_batch_size=2,
            max_train_steps=3,
            checkpoints_total_limit=1,
            checkpointing_steps=1,
            max_grad_norm=1e9,
            validate=lambda folder, step: (folder / f"seen-by-{os.getpid()}").touch(),
        )
        if handle:
            handle.remove()


def record_gradients(output_dir):
    """Before each optimizer step write its gradients and learning rate, from the main process."""

    def record(optimizer, *_):
        folder = output_dir / "gradients"
        folder.mkdir(parents=True, exist_ok=True)
        group = optimizer.param_groups[0]
        tensors = {str(i): parameter.grad.clone() for i, parameter in enumerate(group["params"])}
        file = folder / f"{len(list(folder.glob('*.safetensors')))}.safetensors"
        save_file(tensors | {"lr": torch.tensor(group["lr"])}, file)

    if int(os.environ.get("RANK", 0)) == 0:
        return register_optimizer_step_pre_hook(record)


if __name__ == "__main__":
    main()
