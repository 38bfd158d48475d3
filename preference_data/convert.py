"""From one form of preference to another."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from preference_data.schema import Choice, Labelled, Pair

# what becomes of a picture that was preferred in one comparison and dispreferred in another
Intersections = Literal["drop", "preferred", "dispreferred"]


def with_partners(labels: Iterable[Labelled]) -> list[tuple[Labelled, tuple[Path, ...]]]:
    """Each preferred picture with the dispreferred ones of its group and value; there may be none."""
    labels = list(labels)
    dispreferred: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for label in labels:
        if not label.preferred:
            dispreferred[label.group, label.value].append(label.path)
    partners = {key: tuple(paths) for key, paths in dispreferred.items()}  # one tuple a group, however many share it
    return [(label, partners.get((label.group, label.value), ())) for label in labels if label.preferred]


def labels_to_pairs(labels: Iterable[Labelled]) -> Iterator[Pair]:
    """Every preferred picture against every dispreferred one of its group and value, under the preferred one's prompt:
    n and m pictures of a group give n·m pairs, and a picture without a partner gives none."""
    for label, partners in with_partners(labels):
        for partner in partners:
            yield Pair(label.prompt, label.path, partner)


def choices_to_pairs(choices: Iterable[Choice]) -> Iterator[Pair]:
    """The chosen picture against each of the others."""
    for choice in choices:
        for i, picture in enumerate(choice.pictures):
            if i != choice.chosen:
                yield Pair(choice.prompt, choice.pictures[choice.chosen], picture)


def pairs_to_labels(pairs: Iterable[Pair], intersections: Intersections = "drop") -> Iterator[Labelled]:
    """Each picture of each prompt once, as Diffusion-KTO reads Pick-a-Pic, in the order of their first appearance.

    Args:
        intersections: what becomes of a picture that won one pair and lost another.
    """
    seen: dict[tuple[str, Path], set[bool]] = defaultdict(set)
    for pair in pairs:
        seen[pair.prompt, pair.preferred].add(True)
        seen[pair.prompt, pair.dispreferred].add(False)
    for (prompt, path), outcomes in seen.items():
        if (preferred := settled(outcomes, intersections)) is not None:
            yield Labelled(path, prompt, preferred, group=prompt)


def settled(outcomes: set[bool], intersections: Intersections) -> bool | None:
    """The label of a picture that won (True), lost (False), or did both; None drops it."""
    if len(outcomes) == 1:
        return True in outcomes
    return None if intersections == "drop" else intersections == "preferred"
