"""How much faster a LiVO step is than in the arrangement that was published: the same loss, by other means.

    python benchmarks/livo_step.py --pretrained_model_name_or_path assets/miniature --batch_size 8

"published": both pictures of a pair are encoded at every step, prompts too, at full length, and each of the four errors
has a pass of its own, all with a graph. "ours" is `value_encoder/task.py`: latents and prompts are kept, two passes,
the reference's without a graph, the value's text no longer than it is. Both compute in the same precision, in turns;
speed is a ratio within this run, and losses and gradients must agree.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from diffusion_base.arguments import BaseArguments, Count, parse
from diffusion_base.conditioning import encode_prompts, prepend_token
from diffusion_base.errors import run
from diffusion_base.families.text import tokenize
from diffusion_base.latents import encode_live
from diffusion_base.noising import draw_noise, per_sample_error
from diffusion_base.pipeline import Pipeline, load_pipeline
from diffusion_base.processes import usable_device
from diffusion_base.training.cpu_attention import Float32Attention
from miniature.models import asset_folder
from value_encoder.loss import livo_loss
from value_encoder.task import LiVOTask

PRECISIONS = {"no": torch.float32, "bf16": torch.bfloat16}


@dataclass
class Arguments:
    base: BaseArguments = field(default_factory=lambda: BaseArguments(str(asset_folder())))
    batch_size: Count = 8
    """Pairs in a step."""
    steps: Count = 20
    """Steps of each kind that are timed."""
    mixed_precision: Literal["no", "bf16"] = "bf16"
    """Of both."""
    device: str | None = None
    """By default the GPU where there is one."""


def published(task: LiVOTask, pipeline: Pipeline, batch: dict) -> Tensor:
    """The loss of B pairs, (B,)."""
    steps, indices, size = batch["step"].tolist(), batch["index"].tolist(), len(batch["prompt"])
    unet, process = task.frozen["unet"], task.process
    with torch.no_grad():
        sides = [
            encode_live(pipeline.vae, batch[side], task.seed, steps, indices) for side in ("preferred", "dispreferred")
        ]
        prompt = encode_prompts(pipeline, batch["prompt"]).embeds
    noise = draw_noise(sides[0].shape[1:], task.seed, steps, indices).to(sides[0])
    timesteps = process.draw_timesteps(task.seed, steps, indices).to(noise.device)
    texts = [f"{value}, {text}" for value, text in zip(batch["value"], batch["prompt"], strict=True)]
    token = task.value_encoder(tokenize(task.tokenizer, texts).to(noise.device)).pooler_output
    with_token = prepend_token(token, prompt, length=prompt.shape[1])

    def error(latents: Tensor, conditioning: Tensor) -> Tensor:
        noisy = process.add_noise(latents, noise, timesteps)
        predicted = unet(noisy.to(unet.dtype), timesteps, conditioning.to(unet.dtype)).sample
        return per_sample_error(predicted, process.target(latents, noise, timesteps))

    errors = [error(side, conditioning) for conditioning in (with_token, prompt) for side in sides]
    assert all(len(each) == size for each in errors)
    return livo_loss(*errors, **task.settings)[0]


def timed(task: LiVOTask, loss: Callable[[], Tensor]) -> tuple[float, Tensor, Tensor]:
    """Seconds of forward and backward, the mean loss, and the gradient as one vector."""
    task.zero_grad()
    start = time.perf_counter()
    mean = loss().mean()
    mean.backward()
    gradient = torch.cat([p.grad.flatten() for p in task.value_encoder.parameters() if p.grad is not None])
    mean = mean.detach().cpu()  # waits for the device
    return time.perf_counter() - start, mean, gradient


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    arguments = parse(Arguments, argv, prog="benchmarks/livo_step.py", description=__doc__)
    device, count = usable_device(arguments.device), arguments.batch_size
    pipeline = load_pipeline(arguments.base.pretrained_model_name_or_path, device=device)
    precision = PRECISIONS[arguments.mixed_precision]
    task = LiVOTask(pipeline, beta=30, alpha=15, gamma1=3, gamma2=0.5, frozen_dtype=precision).to(device)
    side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    common = {"prompt": [f"a photo of a nurse, number {i}" for i in range(count)], "value": ["gender equality"] * count}
    common |= {"step": torch.zeros(count, dtype=torch.long), "index": torch.arange(count)}
    preferred, dispreferred = (torch.rand(2, count, 3, side, side, device=device) * 2 - 1).to(precision)
    pixels = common | {"preferred": preferred, "dispreferred": dispreferred}
    with torch.no_grad():
        kept = [
            encode_live(pipeline.vae, each, task.seed, [0] * count, range(count)) for each in (preferred, dispreferred)
        ]
    cached = common | {"preferred": kept[0], "dispreferred": kept[1]}
    fast = Float32Attention if device.type == "cpu" and precision == torch.bfloat16 else nullcontext

    def ours() -> Tensor:
        with fast(), torch.autocast(device.type, precision, enabled=precision != torch.float32):
            return task(cached)[0]

    def theirs() -> Tensor:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            return published(task, pipeline, pixels)

    kinds = {"ours": ours, "published": theirs}
    (_, loss, gradient), (_, same_loss, same_gradient) = (timed(task, kind) for kind in kinds.values())
    difference = ((gradient - same_gradient).norm() / same_gradient.norm()).item()
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(arguments.steps):  # in turns, so that whatever else runs here slows both
        for name, kind in kinds.items():
            seconds[name].append(timed(task, kind)[0])
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratio = medians["published"] / medians["ours"]
    print(
        f"{count} pairs of {side} px on {device}, {arguments.mixed_precision}: ours {medians['ours']:.3f} s, as "
        f"published {medians['published']:.3f} s, ratio {ratio:.2f}; losses {loss:.5f} and {same_loss:.5f}, the "
        f"gradients differ by {difference:.1e}"
    )
    return {"ratio": ratio, "difference": difference}


if __name__ == "__main__":
    run(main)
