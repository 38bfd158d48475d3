"""Train the miniature from nothing: autoencoder, CLIP, oracle, denoiser. Resumable; a few hours on 2 cores.

accelerate launch -m miniature.train_base --output_dir runs/miniature
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPModel

from diffusion_base.arguments import MAY_CHANGE, Count, Positive, WholeNumber, parse, to_dict
from diffusion_base.errors import UserError, run
from diffusion_base.files import replacing
from diffusion_base.processes import process_state
from diffusion_base.training.arguments import TrainingArguments
from diffusion_base.training.loop import train
from miniature import models, tasks
from miniature.drawing import render
from miniature.oracle import Oracle, OracleNetwork, to_tensor
from miniature.world import draw_scene

LATENT_SEED = 10_000_000  # scene i of the denoiser's training set has seed LATENT_SEED + i


@dataclass(frozen=True)
class Stage:
    """How long and how hard one part is trained: AdamW, warm-up over 200 steps, then a cosine to zero."""

    steps: int
    batch: int
    learning_rate: float
    beta2: float = 0.999
    weight_decay: float = 0.01


@dataclass(frozen=True)
class Settings:
    """What a stage's run is known by."""

    stage: str
    settings: Stage
    max_train_steps: Annotated[int, MAY_CHANGE]
    seed: int


STAGES = {
    "autoencoder": Stage(steps=6400, batch=16, learning_rate=1e-3),
    "clip": Stage(steps=2200, batch=96, learning_rate=1e-3, beta2=0.98, weight_decay=0.05),
    "oracle": Stage(steps=3200, batch=64, learning_rate=1.5e-3),
    "denoiser": Stage(steps=20_000, batch=32, learning_rate=8e-4, beta2=0.99),
}


@dataclass
class Arguments:
    output_dir: Path
    """Where the finished base goes, half precision; the stages' checkpoints lie in <output_dir>/stages."""
    scale_steps: Positive = 1.0
    """Multiplies every stage's steps: more than 1 trains longer and better, far less than 1 tries the script."""
    latents: Count = 60_000
    """Scenes that the denoiser learns from, encoded once."""
    mixed_precision: Literal["no", "fp16", "bf16"] = "bf16"
    """Precision of the computation."""
    compile: bool = False
    """torch.compile the denoiser; on a CPU with a C++ compiler its step takes half the time."""
    seed: WholeNumber = 0
    """Seed of weights, scenes and noise."""


def train_stage(arguments: Arguments, name: str, task, dataset) -> Path:
    """Run one stage with the shared loop, going on where it was interrupted. Returns the folder with its weights."""
    stage = STAGES[name]
    folder = arguments.output_dir / "stages" / name
    steps = max(1, round(stage.steps * arguments.scale_steps))
    resolved = Settings(name, stage, steps, arguments.seed)
    report = folder / "training.json"
    if report.is_file() and "finished_steps" in (before := json.loads(report.read_text())):
        if before["arguments"] != to_dict(resolved):
            raise UserError(f"{folder} was trained with other settings: delete it or choose another --output_dir")
        print(f"{name}: finished before")
        return folder
    settings = TrainingArguments(
        output_dir=str(folder),
        seed=arguments.seed,
        train_batch_size=stage.batch,
        max_train_steps=steps,
        learning_rate=stage.learning_rate,
        lr_scheduler="cosine",
        lr_warmup_steps=200 if arguments.scale_steps >= 0.5 else 0,
        adam_beta2=stage.beta2,
        adam_weight_decay=stage.weight_decay,
        mixed_precision=arguments.mixed_precision,
        checkpointing_steps=500,
        checkpoints_total_limit=1,
        resume_from_checkpoint="latest" if folder.exists() else None,
    )
    return train(task, dataset, settings, resolved=resolved)


@torch.no_grad()
def encode_scenes(vae: AutoencoderKL, count: int, file: Path) -> tuple[Tensor, float]:
    """Posterior means (count, C, h, w) in half precision, kept in ``file``, and the scaling factor 1/std."""
    if file.is_file():
        held = len(load_file(file)["latents"])
        if held != count:
            raise UserError(
                f"{file} holds {held} scenes, not --latents {count}: delete it or choose another --output_dir"
            )
    else:
        parts = []
        for start in tqdm(range(0, count, 100), desc="encoding scenes"):
            images = [
                render(draw_scene(np.random.default_rng(LATENT_SEED + i)))
                for i in range(start, min(start + 100, count))
            ]
            parts.append(vae.encode(to_tensor(images).to(vae.device)).latent_dist.mean.cpu().half())
        with replacing(file) as partial:
            save_file({"latents": torch.cat(parts).contiguous()}, partial)
    latents = load_file(file)["latents"]
    return latents, float(1 / latents.float().std())


def assemble(folder: Path, tokenizer, clip: CLIPModel, vae: AutoencoderKL, unet, oracle: Oracle) -> None:
    """Write the base with its two judges as people load them: half-precision safetensors in the standard folders."""
    models.build_pipeline(tokenizer, clip, vae, unet).to(dtype=torch.float16).save_pretrained(folder)
    clip.half().save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "clip")
    models.build_image_processor().save_pretrained(folder / "clip")
    oracle.save(folder / "oracle")
    # or transformers would open these two in half precision, beside a float32 UNet
    edit_config(folder / "text_encoder", dtype="float32")
    edit_config(folder / "clip", dtype="float32")
    for part in ("unet", "vae"):  # where its stage lay
        edit_config(folder / part, _name_or_path=None)


def edit_config(folder: Path, **changes: str | None) -> None:
    """Change entries of a component's config.json; None removes one."""
    file = folder / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in config.items() if k not in changes or v is not None}, indent=2) + "\n")


def main(argv: list[str] | None = None) -> Path:
    arguments = parse(Arguments, argv, description=__doc__)
    torch.manual_seed(arguments.seed)
    tokenizer, scenes, out = models.build_tokenizer(), tasks.SceneDataset(), arguments.output_dir

    folder = train_stage(arguments, "autoencoder", tasks.AutoencoderTask(models.build_vae()), scenes)
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    folder = train_stage(arguments, "clip", tasks.ContrastiveTask(models.build_clip(tokenizer), tokenizer), scenes)
    clip = CLIPModel.from_pretrained(folder / "clip")
    folder = train_stage(arguments, "oracle", tasks.OracleTask(OracleNetwork()), scenes)
    oracle = Oracle.from_folder(folder / "oracle")

    state = process_state()
    with state.main_process_first():
        latents, scaling = encode_scenes(vae, arguments.latents, out / "stages" / "latents.safetensors")
    vae.register_to_config(scaling_factor=scaling)
    task = tasks.DenoisingTask(models.build_unet(), models.text_encoder_of(clip), tokenizer, scaling, arguments.compile)
    folder = train_stage(arguments, "denoiser", task, tasks.LatentDataset(latents, LATENT_SEED))
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")

    if not state.is_main_process:
        return out
    assemble(out, tokenizer, clip, vae, unet, oracle)
    facts = {
        "stages": {name: asdict(replace(s, steps=round(s.steps * arguments.scale_steps))) for name, s in STAGES.items()}
    }
    facts |= {"latents": arguments.latents, "seed": arguments.seed, "scaling_factor": scaling}
    (out / "training.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(f"the base is in {out}; next: python -m miniature.check --pretrained_model_name_or_path {out}")
    return out


if __name__ == "__main__":
    run(main)
