"""How much is saved where only the UNet's way up carries a graph, as concept vectors are trained.

    python benchmarks/concept_training.py --pretrained_model_name_or_path assets/miniature --batch_size 32

A training step (forward and backward) as `concept_vectors/task.py` takes it, and the same step with a graph through
everything, in turns: seconds, and bytes that the forward pass keeps for the backward pass. Both are ratios within this
run; the gradients must agree.
"""

import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from concept_vectors.task import ConceptTask
from diffusion_base.arguments import BaseArguments, Count, parse
from diffusion_base.errors import run
from diffusion_base.pipeline import load_pipeline
from diffusion_base.processes import usable_device
from miniature.models import asset_folder


@dataclass
class Arguments:
    base: BaseArguments = field(default_factory=lambda: BaseArguments(str(asset_folder())))
    batch_size: Count = 8
    """Pictures in a step."""
    steps: Count = 20
    """Steps of each kind that are timed."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass."""
    device: str | None = None
    """By default the GPU where there is one."""


def with_everything(unet: torch.nn.Module) -> torch.utils.hooks.RemovableHandle:
    """Let the graph begin at the UNet's input."""
    return unet.register_forward_pre_hook(lambda _unet, inputs: (inputs[0].detach().requires_grad_(), *inputs[1:]))


class KeptBytes(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes of the distinct tensors kept for the backward pass, weights aside."""

    def __init__(self, frozen: torch.nn.Module):
        self.weights = {parameter.untyped_storage().data_ptr() for parameter in frozen.parameters()}
        self.kept: dict[int, int] = {}
        super().__init__(self.count, lambda tensor: tensor)

    def count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.kept[storage.data_ptr()] = storage.nbytes()
        return tensor


def step(task: ConceptTask, batch: dict, everything: bool, counting: bool = False) -> tuple[float, int, Tensor]:
    """Seconds, bytes kept (0 unless counting), and the gradient of the vectors."""
    task.vectors.grad = None
    handle = with_everything(task.frozen["unet"]) if everything else None
    kept = KeptBytes(task.frozen) if counting else None
    start = time.perf_counter()
    with kept or nullcontext():
        loss = task(batch)[0].mean()
    loss.backward()
    gradient = task.vectors.grad.clone()
    gradient[0].sum().item()  # waits for the device
    seconds = time.perf_counter() - start
    if handle is not None:
        handle.remove()
    return seconds, sum(kept.kept.values()) if kept else 0, gradient


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    arguments = parse(Arguments, argv, prog="benchmarks/concept_training.py", description=__doc__)
    device = usable_device(arguments.device)
    pipeline = load_pipeline(arguments.base.pretrained_model_name_or_path, device=device)
    task = ConceptTask(pipeline, ["concept"], gradient_checkpointing=arguments.gradient_checkpointing).to(device)
    config, count = pipeline.unet.config, arguments.batch_size
    batch = {
        "picture": torch.randn(count, config.in_channels, config.sample_size, config.sample_size, device=device),
        "concepts": torch.ones(count, 1, device=device),
        "prompt": ["a person"] * count,
        "step": torch.zeros(count, dtype=torch.long),
        "index": torch.arange(count),
    }
    (_, up_bytes, gradient), (_, all_bytes, same) = (step(task, batch, kind, counting=True) for kind in (False, True))
    difference = ((gradient - same).norm() / same.norm()).item()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(arguments.steps):  # in turns, so that whatever else runs here slows both
        for kind in seconds:
            seconds[kind].append(step(task, batch, kind)[0])
    up, everything = (statistics.median(seconds[kind]) for kind in (False, True))
    print(
        f"batch {count} on {device}: the way up {up:.3f} s, {up_bytes / 2**20:.1f} MiB; everything {everything:.3f} s, "
        f"{all_bytes / 2**20:.1f} MiB; ratios {everything / up:.2f} and {all_bytes / up_bytes:.2f}; the gradients "
        f"differ by {difference:.1e}"
    )
    return {"time": everything / up, "memory": all_bytes / up_bytes, "difference": difference}


if __name__ == "__main__":
    run(main)
