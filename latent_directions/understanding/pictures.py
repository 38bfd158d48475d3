"""Pictures of texts, each text in a set of its own; and the pictures of any folder."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from diffusion_base.arguments import SamplingArguments
from diffusion_base.errors import UserError
from diffusion_base.generation import generate_set
from diffusion_base.identity import content_keys, digest
from diffusion_base.pipeline import Pipeline
from diffusion_base.processes import process_state
from scorers.clip import CLIPScorer
from scorers.features import CLIPFeatures, extract

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def make_pictures(
    pipeline: Pipeline,
    texts: Sequence[str],
    folder: Path,
    *,
    images: int,
    seed: int = 0,
    sampling: SamplingArguments,
) -> dict[str, list[Path]]:
    """`images` pictures of each text, by text; those that are there already are kept, and processes share the work.

    No two pictures share a seed: each text's seeds follow from its words, so that another list of texts changes none.
    """
    made, state = {}, process_state()
    for text in tqdm(texts, desc="pictures", unit="text", disable=not state.is_main_process):
        key = digest(text.encode())
        first = seed + int(key[:7], 16)
        files = [f"{i:04d}.png" for i in range(images)]
        records = [{"file": file, "prompt": text, "seed": first + i} for i, file in enumerate(files)]
        own = folder / f"{re.sub(r'[^a-z0-9]+', '-', text.lower())[:60].strip('-')}-{key[:6]}"
        generate_set(pipeline, records, own, accelerator=state, name=text, progress=False, **sampling.options())
        made[text] = [own / "images" / file for file in files]
    return made


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, by name; of a generated set, those in its images/.

    Raises:
        UserError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder of pictures")
    place = folder / "images" if (folder / "images").is_dir() else folder
    files = sorted(file for file in place.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise UserError(f"{place} holds no pictures ({', '.join(SUFFIXES)})")
    return files


def named_folders(folders: Sequence[Path], names: Sequence[str] | None = None) -> dict[str, list[Path]]:
    """The pictures of folders by the folders' names, or by those given.

    Raises:
        UserError: not as many names as folders, two alike, or as `pictures_in`.
    """
    called = names or [str(folder) for folder in folders]
    if len(called) != len(folders):
        raise UserError(f"--names gives {len(called)} names for {len(folders)} folders of --pictures")
    if len(set(called)) < len(called):
        raise UserError("two folders of --pictures have one name: tell them apart by --names")
    return {name: pictures_in(folder) for name, folder in zip(called, folders, strict=True)}


def image_features(
    pictures: Mapping[str, Sequence[Path]], clip: CLIPScorer, folder: Path, *, num_workers: int = 2
) -> dict[str, Tensor]:
    """CLIP's unit vectors (n, D) of each text's n pictures, kept in `folder`."""
    files = [file for own in pictures.values() for file in own]
    keys = dict(zip(files, content_keys(files), strict=True))
    by_key = {key: file for file, key in keys.items()}
    (rows,) = extract(by_key, [CLIPFeatures(clip)], folder, num_workers=num_workers)
    return {text: torch.stack([rows[keys[file]] for file in own]) for text, own in pictures.items()}
