"""A few pictures in Pick-a-Pic's processed form: blue ones are liked, red ones are not."""

from pathlib import Path

import numpy as np
from PIL import Image

from preference_data import Pair, write_records


def write_pictures(folder: Path, count: int = 8) -> list[Path]:
    """Every other picture is blue, from the first one."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, files = np.random.default_rng(0), [folder / f"{i}.png" for i in range(count)]
    for i, file in enumerate(files):
        pixels = rng.integers(0, 100, (40, 32, 3), dtype=np.uint8)
        pixels[..., 0 if i % 2 else 2] += 150
        Image.fromarray(pixels).save(file)
    return files


def write_table(folder: Path, count: int = 8) -> Path:
    """A folder as `--train_data_dir`: train_processed_v3.csv with pictures in train/; the last one won and lost."""
    write_pictures(folder / "train", count)
    words = ["exclusive_lose" if i % 2 else "exclusive_win" for i in range(count - 1)] + ["intersections"]
    lines = [f"train/{i}.png,a photo of cat {i},{word}" for i, word in enumerate(words)]
    (folder / "train_processed_v3.csv").write_text("\n".join(["file_name,caption,split", *lines]) + "\n")
    return folder


def write_pairs(folder: Path, count: int = 8) -> Path:
    """pairs.jsonl of neighbouring pictures."""
    files = write_pictures(folder, count)
    pairs = [Pair(f"a photo of cat {i}", files[i], files[i + 1]) for i in range(0, count, 2)]
    write_records(folder / "pairs.jsonl", pairs)
    return folder / "pairs.jsonl"
