"""Which pictures a scene still needs, and which of the made ones it keeps. No models, no files."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

from torch import Tensor

from preference_data.plan import HARMFUL, HARMLESS, Bias, Plan, Scene, slug
from preference_data.screening import Answer, objection, verdict

NEAR_DUPLICATE = "near duplicate"


def seed_of(*parts: str | int) -> int:
    """A picture's seed, a function of what it is and of nothing else: other scenes of a plan change none."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:4], "big")


def plain_records(scene: Scene, count: int, seed: int, suffix: str) -> list[dict]:
    """Pictures of the subject's plain prompts, by which its over-represented groups are found."""
    prompts = [scene.value.written_prompt(template, scene.subject) for template in scene.templates]
    return [
        {
            "file": f"plain/{scene.plain_name}/{i:04d}.{suffix}",
            "prompt": prompts[i % len(prompts)],
            "seed": seed_of(seed, "plain", scene.plain_name, i),
        }
        for i in range(count)
    ]


def representation(value: Bias, answers: Sequence[Answer]) -> dict[str, int]:
    """How many plain pictures show each group."""
    counts = Counter(verdict(value, answer) for answer in answers)
    return {group: counts[group] for group in value.groups}


def imbalance(counts: Mapping[str, int]) -> float:
    """LiVO's D1: (max n − min n) / N."""
    return (max(counts.values()) - min(counts.values())) / sum(counts.values())


def quotas(counts: Mapping[str, int], images: int) -> tuple[dict[str, int], dict[str, int]]:
    """How many pictures of which groups the preferred and the dispreferred side show.

    The dispreferred side shows the over-represented group. The preferred side shows the groups below an even share; the
    rarer, the more: by 1 / share, where each group's share is (n + 1) / (N + k), so that one not seen at all has one.
    """
    over = max(counts, key=lambda group: counts[group])
    even, total = sum(counts.values()) / len(counts), sum(counts.values()) + len(counts)
    rarity = {group: total / (count + 1) for group, count in counts.items() if count < even}
    return apportion(images, rarity), {over: images}


def apportion(count: int, weights: Mapping[str, float]) -> dict[str, int]:
    """A count in whole parts after weights: the largest remainders get what rounding down leaves."""
    exact = {name: count * weight / sum(weights.values()) for name, weight in weights.items()}
    parts = {name: math.floor(part) for name, part in exact.items()}
    for name in sorted(exact, key=lambda name: parts[name] - exact[name])[: count - sum(parts.values())]:
        parts[name] += 1
    return {name: part for name, part in parts.items() if part}


@dataclass
class Want:
    """The pictures of one group, or of a harm or its absence, that a scene needs on one side."""

    scene: Scene
    preferred: bool
    shows: str
    wanted: int
    made: int = 0
    surplus: int = 0
    kept: list[dict] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    rejected: Counter = field(default_factory=Counter)

    def next_records(self, number: int, plan: Plan, seed: int, suffix: str) -> list[dict]:
        """What to make in round `number`, counted from 0: none once the side is full or the attempts are used up."""
        missing = self.wanted - len(self.kept)
        count = min(
            math.ceil(missing * plan.oversampling * 2**number), math.ceil(self.wanted * plan.attempts) - self.made
        )
        wording, scene = self.scene.value.sides[self.shows], self.scene
        records = []
        for i in range(self.made, self.made + max(0, count)):
            template = scene.templates[i % len(scene.templates)]
            name = f"{scene.name}/{slug(self.shows)}"
            records.append(
                {
                    "file": f"{name}-{i:04d}.{suffix}",
                    "prompt": wording.fill(template, scene.subject),
                    "seed": seed_of(seed, name, i),
                    "negative_prompt": wording.negative,
                    "written_prompt": scene.value.written_prompt(template, scene.subject),
                }
            )
        return records

    def consider(self, record: dict, answer: Answer, feature: Tensor, duplicates_above: float | None) -> None:
        """Keep a picture, or count why not."""
        self.made += 1
        if reason := objection(self.scene.value, answer, self.shows):
            self.rejected[reason] += 1
        elif len(self.kept) == self.wanted:
            self.surplus += 1
        elif duplicates_above is not None and any(float(other @ feature) > duplicates_above for other in self.features):
            self.rejected[NEAR_DUPLICATE] += 1
        else:
            self.kept.append(record | {"shows": self.shows, "judged": answer})
            self.features.append(feature)


def wants_of(scene: Scene, counts: Mapping[str, int] | None) -> list[Want]:
    """What a scene needs.

    Args:
        counts: of a bias, how many plain pictures show each group.
    """
    if counts is None:
        preferred, dispreferred = {HARMLESS: scene.images_per_side}, {HARMFUL: scene.images_per_side}
    else:
        preferred, dispreferred = quotas(counts, scene.images_per_side)
    sides = ((True, preferred), (False, dispreferred))
    return [Want(scene, side, shows, wanted) for side, groups in sides for shows, wanted in groups.items()]


def in_turn(wants: Sequence[Want]) -> Iterator[dict]:
    """The kept pictures of one side, a picture of each group in turn: so a set's first share holds all groups."""
    return (record for record in chain(*zip_longest(*(want.kept for want in wants))) if record is not None)
