"""From one form of preference to another."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Literal

from preference_data.schema import Choice, Labelled, Pair, Scored

# what becomes of a picture that was preferred in one comparison and dispreferred in another
Intersections = Literal["drop", "preferred", "dispreferred"]
# Diffusion-KTO's words for pictures that won every comparison they were in, lost every one, or both won and lost
OUTCOMES = {"exclusive_win": {True}, "exclusive_lose": {False}, "intersections": {True, False}}


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


def labels_to_scores(labels: Iterable[Labelled]) -> Iterator[Scored]:
    """1 for a preferred picture, 0 for a dispreferred one."""
    for label in labels:
        yield Scored(label.path, label.prompt, float(label.preferred))


def scores_to_labels(scores: Iterable[Scored], threshold: float | None = None) -> Iterator[Labelled]:
    """What lies above a threshold is preferred, what lies below it dispreferred, and what meets it neither.

    Args:
        threshold: of the reward; None is the mean of the picture's own prompt.
    """
    for prompt, own in _by_prompt(scores).items():
        bound = fmean(one.reward for one in own) if threshold is None else threshold
        for one in own:
            if one.reward != bound:
                yield Labelled(one.path, prompt, one.reward > bound, group=prompt)


def scores_to_pairs(scores: Iterable[Scored], margin: float = 0.0) -> Iterator[Pair]:
    """Every two pictures of a prompt whose rewards differ by more than `margin`."""
    for prompt, own in _by_prompt(scores).items():
        for one, other in combinations(own, 2):
            worse, better = sorted((one, other), key=lambda scored: scored.reward)
            if better.reward - worse.reward > margin:
                yield Pair(prompt, better.path, worse.path)


def scores_to_choices(scores: Iterable[Scored]) -> Iterator[Choice]:
    """The best picture among all of its prompt; a prompt without one best picture, or with one picture, gives none."""
    for prompt, own in _by_prompt(scores).items():
        rewards = [one.reward for one in own]
        if len(own) > 1 and rewards.count(max(rewards)) == 1:
            yield Choice(prompt, tuple(one.path for one in own), rewards.index(max(rewards)))


def _by_prompt(scores: Iterable[Scored]) -> dict[str, list[Scored]]:
    prompts: dict[str, list[Scored]] = defaultdict(list)
    for one in scores:
        prompts[one.prompt].append(one)
    return prompts


def settled(outcomes: set[bool], intersections: Intersections) -> bool | None:
    """The label of a picture that won (True), lost (False), or did both; None drops it."""
    if len(outcomes) == 1:
        return True in outcomes
    return None if intersections == "drop" else intersections == "preferred"
