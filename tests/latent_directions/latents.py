"""Collections of latents and files of directions for a tiny base, without any picture being made."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from diffusion_base.identity import base_hash
from latent_directions.dataset import LATENTS
from latent_directions.directions import Directions

SHAPE = (4, 8, 8)


def unit(seed: int, shape=SHAPE) -> torch.Tensor:
    vector = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return vector / vector.norm()


def write_collection(
    folder: Path,
    classes=("male", "female"),
    count=30,
    *,
    apart=(0.5, 6.0),
    steps=(0, 5),
    shape=SHAPE,
    base="base",
    scale=0.5,
    subjects=("",),
    seed=0,
    first=0,
) -> Path:
    """As collect.py leaves it: at each step a picture's latents are its seed's noise and `apart` along its class's own
    unit vector, numbered from `first` on; nothing of a picture but its name."""
    records, tensors = [], {}
    for k, name in enumerate(classes):
        for i in range(count):
            noise = torch.randn((len(steps), *shape), generator=torch.Generator().manual_seed(seed + i))
            moved = torch.stack([z + far * unit(1000 + first + k, shape) for z, far in zip(noise, apart, strict=True)])
            tensors[f"{name}_{i}"] = (moved / scale).half()
            record = {"file": f"{name}_{i}.png", "prompt": f"a {name}", "seed": seed + i, "class": name}
            records.append(record | {"subject": subjects[i % len(subjects)]})
    (folder / LATENTS).mkdir(parents=True)
    about = json.dumps({"steps": steps, "scale": scale})
    save_file(tensors, folder / LATENTS / "all.safetensors", metadata={LATENTS: about})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "run.json").write_text(json.dumps({"identity": {"base": base, "num_inference_steps": 25}}))
    return folder


def random_directions(pipeline, names=("male", "female", "dark"), shape=SHAPE) -> Directions:
    """Directions as a fit leaves them, each class's its own."""
    tensors = {
        (fit, name, step): unit(100 * k + 10 * step + len(fit), shape)
        for k, name in enumerate(names)
        for fit in ("svm", "means")
        for step in (0, 5, 10)
    }
    return Directions(tensors, base_hash(pipeline), 25)
