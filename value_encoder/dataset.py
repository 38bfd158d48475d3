"""LiVO's training pairs: preferred pictures, each with the dispreferred ones of its scene. Read by preference_data."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from diffusion_base.errors import UserError
from diffusion_base.identity import json_hash
from diffusion_base.latents import LatentCache
from preference_data.convert import with_partners
from preference_data.schema import Labelled


@dataclass(frozen=True)
class PreferredPicture:
    """A preferred picture and those it may be paired with: the dispreferred ones of its scene and value."""

    entry: Labelled
    dispreferred: tuple[Path, ...]


def pair(entries: Iterable[Labelled]) -> list[PreferredPicture]:
    """Give each preferred picture the dispreferred ones of its scene and value.

    Raises:
        UserError: a preferred picture has none, or nothing is preferred.
    """
    entries = list(entries)
    preferred = [PreferredPicture(entry, partners) for entry, partners in with_partners(entries)]
    if alone := next((picture.entry for picture in preferred if not picture.dispreferred), None):
        raise UserError(
            f"scene {alone.group} has no dispreferred picture (label 0) for {alone.value!r}, so its preferred ones "
            "have no pair; add one or take the scene out"
        )
    if not preferred:
        raise UserError(f"none of the {len(entries)} pictures is preferred (label 1): there is nothing to learn from")
    return preferred


def first_share(entries: Iterable[Labelled], proportion: float) -> list[Labelled]:
    """The first `proportion` of every scene's preferred and of its dispreferred pictures, one of each at least."""
    sides: dict[tuple[str, bool], list[Labelled]] = defaultdict(list)
    for entry in entries:
        sides[entry.group, entry.preferred].append(entry)
    return [entry for side in sides.values() for entry in side[: max(1, int(len(side) * proportion))]]


class PreferencePairs:
    """An item a preferred picture; its dispreferred one, and the flips and crops of both, come from the item's rng."""

    def __init__(self, pictures: list[PreferredPicture], cache: LatentCache, random_flip: bool = False):
        self.pictures, self.cache, self.random_flip = pictures, cache, random_flip
        cache.encode(path for picture in pictures for path in (picture.entry.path, *picture.dispreferred))

    def __len__(self) -> int:
        return len(self.pictures)

    def fingerprint(self) -> str:
        """A hash of the pictures' contents, prompts and values, and of what is paired with what."""
        contents = self.cache.contents
        partners = {
            paths: json_hash([contents[path] for path in paths])  # once a scene
            for paths in {picture.dispreferred for picture in self.pictures}
        }
        pairs = (
            [contents[picture.entry.path], picture.entry.prompt, picture.entry.value, partners[picture.dispreferred]]
            for picture in self.pictures
        )
        return json_hash(list(pairs))

    def item(self, index: int, rng: np.random.Generator) -> dict:
        """Prompt, value and two pictures: latents (C, h, w), or pixels (3, H, W) where crops are random."""
        picture = self.pictures[index]
        dispreferred = picture.dispreferred[rng.integers(len(picture.dispreferred))]
        return {
            "prompt": picture.entry.prompt,
            "value": picture.entry.value,
            "preferred": self.cache.load(picture.entry.path, rng, self.random_flip),
            "dispreferred": self.cache.load(dispreferred, rng, self.random_flip),
        }

    def summary(self) -> str:
        """One line on what will be learned; a misspelt value shows here."""
        scenes = len({picture.entry.group for picture in self.pictures})
        values = Counter(picture.entry.value for picture in self.pictures)
        counts = ", ".join(f"{value} ({count})" for value, count in sorted(values.items()))
        return f"{len(self)} preferred pictures in {scenes} scenes; values: {counts}"

    def examples(self, count: int) -> list[tuple[str, str]]:
        """Value and prompt of a few pictures, as different in value and scene as possible."""
        scenes: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
        for picture in self.pictures:
            scenes[picture.entry.value].setdefault(picture.entry.group, (picture.entry.value, picture.entry.prompt))
        rounds = zip_longest(*(examples.values() for examples in scenes.values()))  # a scene of each value in turn
        return [example for one_each in rounds for example in one_each if example][:count]
