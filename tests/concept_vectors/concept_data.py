"""A small data set in the published layout: blue pictures show women, red ones men, bright ones the young."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

CONCEPTS = {"woman": 0, "man": 1, "young": 2}


def write_concept_data(root: Path, each: int = 3, size: int = 32) -> Path:
    """Write `each` pictures of women, of men, and of young women, and return the root."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    labels = []
    for names in (["woman"], ["man"], ["woman", "young"]):
        for _ in range(each):
            pixels = rng.integers(0, 80, (size, size, 3), dtype=np.uint8)
            pixels[..., 0 if "man" in names else 2] += 120
            pixels[..., 1] += 100 * ("young" in names)
            Image.fromarray(pixels).save(root / f"{len(labels)}.png")
            labels.append([["a person", names]])
    (root / "labels.json").write_text(json.dumps(labels))
    (root / "test.json").write_text(json.dumps(["a nurse", ["man", "woman,young"]]))
    (root / "concept_dict.json").write_text(json.dumps(CONCEPTS))
    return root
