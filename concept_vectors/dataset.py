"""The published data of concept vectors: pictures, and what each teaches.

N.jpg or N.png        pictures, numbered from 0
labels.json           per picture a list of [prompt without the concept, [concepts]]: one is drawn at each step
test.json             [prompt, [concepts]] to look at while training; a concept "man,young" is the sum of the two
concept_dict.json     concept → its number
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffusion_base.combinations import NAME, did_you_mean
from diffusion_base.errors import UserError
from diffusion_base.identity import json_hash
from diffusion_base.latents import LatentCache

Label = tuple[str, tuple[str, ...]]  # the prompt, and the concepts that the picture shows beyond it


@dataclass(frozen=True)
class ConceptData:
    """What a folder holds.

    Attributes:
        pictures: in the order of their numbers.
        labels: for each picture what it may teach.
        concepts: in the order of their numbers.
        test: what to look at while training; empty where the folder doesn't say.
    """

    pictures: list[Path]
    labels: list[list[Label]]
    concepts: list[str]
    test: list[Label]

    def summary(self) -> str:
        """One line on what will be learned."""
        shown = Counter(name for labels in self.labels for name in {name for _, names in labels for name in names})
        counts = ", ".join(f"{name} ({shown[name]})" for name in self.concepts)
        return f"{len(self.pictures)} pictures; concepts: {counts}"

    def prompts(self) -> list[str]:
        """All prompts under which something is learned."""
        return list(dict.fromkeys(prompt for labels in self.labels for prompt, _ in labels))


def read_data(root: str | Path) -> ConceptData:
    """Read the published layout.

    Raises:
        UserError: no such folder; a file of it missing, faulty or empty; a label with an unknown concept; pictures and
            labels that are not equally many.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise UserError(f"--train_data_dir {root}: there is no such folder")
    concepts = read_concepts(folder / "concept_dict.json")
    file, labels = folder / "labels.json", []
    for number, of_picture in enumerate(as_list(read_json(file), str(file))):
        where = f"{file}, picture {number}"
        labels.append([check_label(label, concepts, where) for label in as_list(of_picture, where)])
    pictures = numbered_pictures(folder)
    if len(pictures) != len(labels):
        raise UserError(f"{folder} holds {len(pictures)} pictures, but labels.json labels {len(labels)}")
    test = folder / "test.json"
    return ConceptData(pictures, labels, concepts, read_test(test, concepts) if test.is_file() else [])


def choose(data: ConceptData, wanted: Sequence[str] = (), most: int | None = None) -> ConceptData:
    """The part of the data that teaches the wanted concepts and no others.

    Args:
        wanted: None of them takes all concepts that some picture shows.
        most: at most so many pictures, the first ones.

    Raises:
        UserError: a wanted concept that is unknown, or that no picture shows (alone or with other wanted ones).
    """
    if unknown := [name for name in wanted if name not in data.concepts]:
        raise UserError(f"--concepts: the data has no concept {unknown[0]!r}{did_you_mean(unknown[0], data.concepts)}")
    among = set(wanted or data.concepts)
    labels = [[label for label in of_picture if among.issuperset(label[1])] for of_picture in data.labels]
    kept = [(picture, of_picture) for picture, of_picture in zip(data.pictures, labels, strict=True) if of_picture]
    kept = kept[:most]
    shown = {name for _, of_picture in kept for _, names in of_picture for name in names}
    if missing := [name for name in wanted if name not in shown]:
        raise UserError(f"no picture shows {', '.join(missing)} without another concept than the wanted ones; add some")
    test = [label for label in data.test if shown.issuperset(label[1])]
    concepts = [name for name in data.concepts if name in shown]
    return ConceptData([picture for picture, _ in kept], [of_picture for _, of_picture in kept], concepts, test)


def read_concepts(file: Path) -> list[str]:
    """The concepts of {"man": 0, "woman": 1} in the order of their numbers."""
    numbered = read_json(file)
    if not isinstance(numbered, dict) or not numbered or not all(type(n) is int for n in numbered.values()):
        raise UserError(f'{file} must number the concepts, as {{"man": 0, "woman": 1}}')
    if wrong := next((name for name in numbered if not re.fullmatch(NAME, name)), None):
        raise UserError(f"{file}: the concept {wrong!r} must be one word of letters, digits, _ and -")
    return sorted(numbered, key=numbered.__getitem__)


def read_test(file: Path, concepts: list[str]) -> list[Label]:
    """[prompt, ["man,young", "woman"]]: one picture to look at for each of the sums."""
    prompt, names = check_label(read_json(file), None, str(file))
    return [check_label([prompt, re.split(r"\s*,\s*", name.strip())], concepts, str(file)) for name in names]


def check_label(label: Any, concepts: list[str] | None, where: str) -> Label:
    """A label as it must be; `where` names it in errors. None for `concepts` takes any."""
    match label:
        case [str(prompt), [*names]] if names and all(isinstance(name, str) for name in names):
            for name in names:
                if concepts is not None and name not in concepts:
                    raise UserError(f"{where}: concept_dict.json has no concept {name!r}{did_you_mean(name, concepts)}")
            return prompt, tuple(names)
    raise UserError(f'{where}: {label!r} must read ["a prompt", ["concept"]]')


def numbered_pictures(folder: Path) -> list[Path]:
    """0.jpg, 1.jpg, …, or .png."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if re.fullmatch(r"\d+\.(jpe?g|png)", path.name.lower()):
            if twin := found.get(number := int(path.stem)):
                raise UserError(f"{folder} has two pictures {number}, {twin.name} and {path.name}: take one out")
            found[number] = path
    if not found:
        raise UserError(f"{folder} holds no pictures; expected 0.jpg or 0.png, and so on")
    if gap := sorted(set(range(max(found) + 1)) - set(found)):
        raise UserError(f"{folder} has no picture {gap[0]}, though it has {max(found)}: labels.json counts from 0")
    return [found[number] for number in sorted(found)]


def as_list(value: Any, where: str) -> list:
    if not isinstance(value, list) or not value:
        raise UserError(f"{where}: a list is needed that is not empty, not {str(value)[:40]}")
    return value


def read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is not JSON: {error}") from None


class ConceptPictures:
    """An item a picture; which of its labels counts, its flip and its crop come from the item's rng."""

    def __init__(self, data: ConceptData, cache: LatentCache, random_flip: bool = False, first_label: bool = False):
        """
        Args:
            first_label: always take a picture's first label instead of drawing one.
        """
        self.data, self.cache, self.random_flip, self.first_label = data, cache, random_flip, first_label
        cache.encode(data.pictures)

    def __len__(self) -> int:
        return len(self.data.pictures)

    def fingerprint(self) -> str:
        """A hash of the pictures' contents and all their labels."""
        contents = [self.cache.contents[path] for path in self.data.pictures]
        return json_hash([self.data.concepts, contents, self.data.labels])

    def item(self, index: int, rng: np.random.Generator) -> dict:
        """Prompt; concepts (K,), 1 for those shown; picture: latents (C, h, w), or pixels (3, H, W) of random crops."""
        labels = self.data.labels[index]
        prompt, names = labels[0 if self.first_label else rng.integers(len(labels))]
        shown = torch.tensor([float(names.count(name)) for name in self.data.concepts])
        return {
            "prompt": prompt,
            "concepts": shown,
            "picture": self.cache.load(self.data.pictures[index], rng, self.random_flip),
        }
