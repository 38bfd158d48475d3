"""LiVO's preference data: aligned pictures, each with the violating ones of its scene.

    <root>/<category>/<scene>/metadata.jsonl   a line {"file_name", "label": 1 aligned / 0 violating, "prompt", "value"}
    <root>/<category>/<scene>/….png

or a Hugging Face dataset whose rows carry image, label, prompt, value, category and scene.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from diffusion_base.data import inside
from diffusion_base.errors import UserError
from diffusion_base.files import read_jsonl, replacing
from diffusion_base.identity import digest
from diffusion_base.latents import LatentCache

COLUMNS = ("label", "prompt", "value")


@dataclass(frozen=True)
class Entry:
    """One picture of the data: aligned with its value, or violating it."""

    path: Path
    scene: str  # "<category>/<scene>"
    prompt: str
    value: str
    aligned: bool

    @classmethod
    def checked(cls, where: str, path: Path, scene: str, row: dict) -> "Entry":
        """An entry from a row of any source; `where` names that row in errors."""
        if type(row["label"]) is not int or row["label"] not in (0, 1):  # JSON's true would pass for 1
            raise UserError(f"{where}: label is {row['label']!r}; it must be 1 (aligned) or 0 (violating)")
        for key in ("prompt", "value"):
            if not isinstance(row[key], str) or not row[key].strip():
                raise UserError(f"{where}: {key} is {row[key]!r}; it must be a text such as 'gender equality'")
        return cls(path, scene, row["prompt"], row["value"], bool(row["label"]))


@dataclass(frozen=True)
class AlignedPicture:
    """An aligned picture and those it may be paired with: the violating ones of its scene and value."""

    entry: Entry
    violating: tuple[Path, ...]


def read_folder(root: str | Path) -> Iterator[Entry]:
    """The entries of the published layout, in the order of their names.

    Raises:
        UserError: no such folder or no scene in it; a scene without metadata.jsonl; a faulty line; a picture
            outside its scene.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"--train_data_dir {root}: there is no such folder")
    scenes = sorted(scene for scene in root.glob("[!.]*/[!.]*") if scene.is_dir())
    if not scenes:
        raise UserError(f"--train_data_dir {root}: no data here; expected <category>/<scene>/metadata.jsonl")
    for folder in scenes:
        file = folder / "metadata.jsonl"
        for row in read_jsonl(file, required=("file_name", *COLUMNS)):
            path = inside(folder, row["file_name"])
            yield Entry.checked(f"{file}, {path.name}", path, f"{folder.parent.name}/{folder.name}", row)


def read_dataset(name: str, pictures: Path) -> Iterator[Entry]:
    """The entries of a Hugging Face dataset: its `train` split.

    Args:
        name: a name on the hub, a folder of `save_to_disk`, or a folder or file that `load_dataset` understands.
        pictures: folder for the pictures that are stored inside the dataset's tables.

    Raises:
        UserError: no such dataset, a column missing, or a faulty row.
    """
    import datasets

    try:
        if any((Path(name) / mark).is_file() for mark in ("state.json", "dataset_dict.json")):
            data = datasets.load_from_disk(name)
            data = data["train"] if isinstance(data, datasets.DatasetDict) else data
        else:
            data = datasets.load_dataset(name, split="train")
    except (OSError, KeyError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"--dataset_name {name} can't be loaded: {' '.join(str(error).split())}") from None
    if missing := {"image", "category", "scene", *COLUMNS} - set(data.column_names):
        raise UserError(f"--dataset_name {name}: no column {', '.join(sorted(missing))}")
    pictures.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(data.cast_column("image", datasets.Image(decode=False))):
        image = row["image"] or {"bytes": None, "path": None}
        if image["bytes"] is not None:  # the latent cache works on files
            path = pictures / digest(image["bytes"])[:32]
            if not path.exists():
                with replacing(path) as partial:
                    partial.write_bytes(image["bytes"])
        elif image["path"] is not None:
            path = Path(image["path"])
        else:
            raise UserError(f"{name}, row {number}: there is no image")
        yield Entry.checked(f"{name}, row {number}", path, f"{row['category']}/{row['scene']}", row)


def pair(entries: Iterable[Entry]) -> list[AlignedPicture]:
    """Give each aligned picture the violating ones of its scene and value.

    Raises:
        UserError: an aligned picture has none, or nothing is aligned.
    """
    entries = list(entries)
    violating: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for entry in entries:
        if not entry.aligned:
            violating[entry.scene, entry.value].append(entry.path)
    aligned = [AlignedPicture(entry, tuple(violating[entry.scene, entry.value])) for entry in entries if entry.aligned]
    if alone := next((picture.entry for picture in aligned if not picture.violating), None):
        raise UserError(
            f"scene {alone.scene} has no violating picture (label 0) for {alone.value!r}, so its aligned ones have no "
            "pair; add one or take the scene out"
        )
    if not aligned:
        raise UserError(f"none of the {len(entries)} pictures is aligned (label 1): there is nothing to learn from")
    return aligned


def first_share(entries: Iterable[Entry], proportion: float) -> list[Entry]:
    """The first `proportion` of every scene's aligned and of its violating pictures, one of each at least."""
    sides: dict[tuple[str, bool], list[Entry]] = defaultdict(list)
    for entry in entries:
        sides[entry.scene, entry.aligned].append(entry)
    return [entry for side in sides.values() for entry in side[: max(1, int(len(side) * proportion))]]


class PreferencePairs:
    """An item an aligned picture; its violating one, and the flips and crops of both, come from the item's rng."""

    def __init__(self, pictures: list[AlignedPicture], cache: LatentCache, random_flip: bool = False):
        self.pictures, self.cache, self.random_flip = pictures, cache, random_flip
        cache.encode(path for picture in pictures for path in (picture.entry.path, *picture.violating))

    def __len__(self) -> int:
        return len(self.pictures)

    def item(self, index: int, rng: np.random.Generator) -> dict:
        """Prompt, value and two pictures: latents (C, h, w), or pixels (3, H, W) where crops are random."""
        picture = self.pictures[index]
        violating = picture.violating[rng.integers(len(picture.violating))]
        return {
            "prompt": picture.entry.prompt,
            "value": picture.entry.value,
            "preferred": self.cache.load(picture.entry.path, rng, self.random_flip),
            "dispreferred": self.cache.load(violating, rng, self.random_flip),
        }

    def summary(self) -> str:
        """One line on what will be learned; a misspelt value shows here."""
        scenes = len({picture.entry.scene for picture in self.pictures})
        values = Counter(picture.entry.value for picture in self.pictures)
        counts = ", ".join(f"{value} ({count})" for value, count in sorted(values.items()))
        return f"{len(self)} aligned pictures in {scenes} scenes; values: {counts}"

    def examples(self, count: int) -> list[tuple[str, str]]:
        """Value and prompt of a few pictures, as different in value and scene as possible."""
        scenes: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
        for picture in self.pictures:
            scenes[picture.entry.value].setdefault(picture.entry.scene, (picture.entry.value, picture.entry.prompt))
        rounds = zip_longest(*(examples.values() for examples in scenes.values()))  # a scene of each value in turn
        return [example for one_each in rounds for example in one_each if example][:count]
