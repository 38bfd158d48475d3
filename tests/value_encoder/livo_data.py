"""A small preference set in the published layout: blue pictures are preferred, red ones dispreferred."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SCENES = {
    "0-career/doctor": ("a photo of a doctor", "gender equality"),
    "0-career/nurse": ("a photo of a nurse", "racial equality"),
    "3-bloody/knight": ("a bloody knight", "bloody considered inappropriate"),
}


def write_livo_data(root: Path, preferred: int = 2, dispreferred: int = 2, size: int = 32) -> Path:
    """Write `preferred` + `dispreferred` pictures to each of three scenes, and return the root."""
    rng = np.random.default_rng(0)
    for scene, (prompt, value) in SCENES.items():
        folder = root / scene
        folder.mkdir(parents=True)
        lines = []
        for i in range(preferred + dispreferred):
            label = int(i < preferred)
            pixels = rng.integers(0, 100, (size, size, 3), dtype=np.uint8)
            pixels[..., 2 if label else 0] += 150
            Image.fromarray(pixels).save(folder / f"{i}.png")
            lines.append(json.dumps({"file_name": f"{i}.png", "label": label, "prompt": prompt, "value": value}))
        (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return root
