"""Folders of pictures as they come: generated sets, LiVO's layout, or pictures and nothing else."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusion_base.errors import UserError
from diffusion_base.files import inside, read_jsonl
from diffusion_base.identity import content_keys

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
LIVO_NAME = re.compile(r"(\d+)_(\d+)")  # {prompt}_{image}


@dataclass(frozen=True)
class PictureSet:
    """Pictures, the key of each one's content, and the prompts and seeds where the folder tells them."""

    folder: Path
    files: Sequence[Path]
    keys: Sequence[str]
    prompts: Sequence[str] | None
    seeds: Sequence[int | None]

    @property
    def name(self) -> str:
        return self.folder.resolve().name


def read_pictures(folder: Path) -> PictureSet:
    """The pictures of a folder, in its manifest's order, by prompt and number in LiVO's layout, else by name.

    Raises:
        UserError: no such folder, no picture in it, or a manifest with a file outside the folder or a bad prompt.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder of pictures")
    prompts: list[str] | None = None
    seeds: list[int | None] = []
    if (folder / "manifest.jsonl").is_file():
        pictures = read_set(folder, "images" if (folder / "images").is_dir() else ".")
        files, prompts = [file for file, _ in pictures], [record["prompt"] for _, record in pictures]
        seeds = [record.get("seed") for _, record in pictures]
        if not all(isinstance(prompt, str) for prompt in prompts):
            raise UserError(f"{folder / 'manifest.jsonl'}: every prompt must be text")
    else:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
        if (folder / "prompt.jsonl").is_file():
            files, prompts = _livo(files, folder / "prompt.jsonl")
    if not files:
        raise UserError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
    return PictureSet(folder, files, content_keys(files), prompts, seeds or [None] * len(files))


def prompts_of(pictures: PictureSet) -> Sequence[str]:
    """What each picture was made from.

    Raises:
        UserError: the folder does not say.
    """
    if pictures.prompts is None:
        raise UserError(
            f"{pictures.folder} does not say its prompts: add a prompt.jsonl (LiVO's layout), or a manifest.jsonl with "
            'a line {"file": …, "prompt": …} for each picture'
        )
    return pictures.prompts


def check_reference(made: PictureSet, reference: PictureSet) -> None:
    """Refuse a reference that holds all pictures of the evaluated set: itself, through a link, or a copy.

    Raises:
        UserError
    """
    if set(made.keys) <= set(reference.keys):
        raise UserError(
            f"--ref_image_paths {reference.folder} holds the very pictures of --eval_image_paths {made.folder}; "
            "name the pictures of another model, or real ones"
        )


def pair(made: PictureSet, reference: PictureSet) -> list[tuple[int, int]]:
    """Which picture of the reference belongs to each of the evaluated set: the same prompt, and the same number in it.

    Raises:
        UserError: a set has no prompts, or they differ.
    """
    own, other = _numbered(made), _numbered(reference)
    if different := sorted(own.keys() ^ other.keys()):
        prompt, number = different[0]
        where = made.folder if different[0] in own else reference.folder
        raise UserError(
            f"{made.folder} and {reference.folder} cannot be compared picture by picture: only {where} has picture "
            f"{number} of {prompt!r}; generate both from the same prompts, equally often"
        )
    return [(own[picture], other[picture]) for picture in own]


def _numbered(pictures: PictureSet) -> dict[tuple[str, int], int]:
    """Where the first, second, … picture of each prompt is."""
    if pictures.prompts is None:
        raise UserError(f"{pictures.folder} does not say its prompts, which comparing picture by picture needs")
    counts: Counter[str] = Counter()
    places = {}
    for place, prompt in enumerate(pictures.prompts):
        counts[prompt] += 1
        places[prompt, counts[prompt]] = place
    return places


def _livo(files: Sequence[Path], prompt_file: Path) -> tuple[list[Path], list[str]]:
    """{prompt}_{image}.jpg, in the order of the numbers, with the prompts of prompt.jsonl; as many of each prompt."""
    prompts = [row["prompt"] for row in read_jsonl(prompt_file, required=["prompt"])]
    if not all(isinstance(prompt, str) for prompt in prompts):
        raise UserError(f"{prompt_file}: every prompt must be text")
    numbered = []
    for file in files:
        name = LIVO_NAME.fullmatch(file.stem)
        if name is None or int(name[1]) >= len(prompts):
            raise UserError(f"{file}: its name must be <prompt>_<picture>, of {len(prompts)} prompts in {prompt_file}")
        numbered.append((int(name[1]), int(name[2]), file))
    numbered.sort()
    counts = Counter(prompt for prompt, _, _ in numbered)
    for prompt in range(len(prompts)):
        if counts[prompt] != counts[0]:
            raise UserError(
                f"{prompt_file.parent} holds {counts[prompt]} pictures of prompt {prompt} ({prompts[prompt]!r}) and "
                f"{counts[0]} of prompt 0; every prompt needs as many: add the missing ones, or take the others out"
            )
    return [file for _, _, file in numbered], [prompts[prompt] for prompt, _, _ in numbered]


def read_set(folder: Path, images_dir: str = "images") -> list[tuple[Path, dict]]:
    """The pictures of a generated set and their records, in the order of its manifest."""
    records = read_jsonl(folder / "manifest.jsonl", required=("file", "prompt"))
    if not records:
        raise UserError(f"{folder / 'manifest.jsonl'} names no picture")
    return [(inside(folder / images_dir, record["file"]), record) for record in records]
