"""Which point of a sweep to take, and why; and how far each subject has to be moved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from latent_directions.weights import Weights

Goal = Literal["shown", "even"]
KEPT = 0.01  # of the subjects' accuracy may be lost
AS_GOOD = 0.02  # misses that differ by no more are as good


@dataclass(frozen=True)
class Point:
    """What the pictures of one step and weight show.

    Attributes:
        step, weight: of the direction; weight 0 is the base.
        shares: subject → the share of its pictures that show the direction's own choice.
        imbalances: subject → D1, (max − min) / N over all choices.
        accuracy: share of pictures that show their subject.
        clip_score: mean of 100 · cosine of picture and prompt.
        diversity: mean of 1 − cosine over pairs of a subject's pictures.
        similarity: mean cosine with the base's picture of the same noise.
    """

    step: int
    weight: float
    shares: Mapping[str, float]
    imbalances: Mapping[str, float]
    accuracy: float
    clip_score: float
    diversity: float
    similarity: float

    @property
    def share(self) -> float:
        return float(np.mean(list(self.shares.values())))

    @property
    def imbalance(self) -> float:
        return float(np.mean(list(self.imbalances.values())))

    def miss(self, goal: Goal) -> float:
        """How far it is from the goal: the choice shown in every picture, or all choices equally often."""
        return 1 - self.share if goal == "shown" else self.imbalance


def front(points: Sequence[Point], goal: Goal) -> list[Point]:
    """Those that no other point beats: in the goal, in the subjects' accuracy, in how like the base they are, in their
    diversity, and in how far the noise is moved."""

    def values(point: Point) -> tuple[float, ...]:
        return point.miss(goal), -point.accuracy, -point.similarity, -point.diversity, abs(point.weight)

    def beaten(point: Point) -> bool:
        own = values(point)
        return any(values(p) != own and all(a <= b for a, b in zip(values(p), own, strict=True)) for p in points)

    return [point for point in points if not beaten(point)]


def recommended(points: Sequence[Point], goal: Goal) -> tuple[Point, str]:
    """The point of the front that comes nearest to the goal with the subjects kept; of those as near, the one of least
    weight, and of equal weights the one most like the base. And the reason, in a sentence or two.

    Args:
        points: the base's, of weight 0, among them.
    """
    base = next(point for point in points if point.weight == 0)
    best = front(points, goal)
    keeping = [point for point in best if point.accuracy >= base.accuracy - KEPT]
    candidates = keeping or best
    least = min(point.miss(goal) for point in candidates)
    as_near = [point for point in candidates if point.miss(goal) <= least + AS_GOOD]
    found = min(as_near, key=lambda point: (abs(point.weight), -point.similarity))
    what = {
        "shown": f"shown in {found.share:.2f} of the pictures (base {base.share:.2f})",
        "even": f"imbalance {found.imbalance:.2f} (base {base.imbalance:.2f})",
    }[goal]
    kept = f"{len(keeping)} of these keep" if keeping else "none of these keeps"
    return found, (
        f"weight {found.weight:g} at step {found.step}: {what}, the subject right in {found.accuracy:.2f} "
        f"({base.accuracy:.2f}), similarity to the base's picture {found.similarity:.2f}, diversity "
        f"{found.diversity:.3f} ({base.diversity:.3f}). Of {len(points)} points {len(best)} are beaten by no other; "
        f"{kept} the subject within {KEPT:.2f} of the base; and of the {len(as_near)} that come within {AS_GOOD:.2f} "
        "of the nearest to the goal this one moves the noise least."
    )


def even_weights(points: Sequence[Point], target: float) -> Weights:
    """Per subject the weight nearest to 0 at which its share would reach the target, between those that were tried;
    where it never does, the one that comes nearest. The default is the weight of the least imbalance over all subjects.

    Args:
        points: of one step, the base's among them.
        target: share of the direction's choice, 1/k for k choices.
    """
    ordered = sorted(points, key=lambda point: point.weight)
    weights = np.array([point.weight for point in ordered])
    by_subject = {}
    for subject in ordered[0].shares:
        off = np.array([point.shares[subject] for point in ordered]) - target
        crossed = [
            float(weights[i] - off[i] * (weights[i + 1] - weights[i]) / (off[i + 1] - off[i]))
            for i in range(len(off) - 1)
            if off[i] * off[i + 1] < 0
        ]
        crossed += [float(weight) for weight, far in zip(weights, off, strict=True) if far == 0]
        nearest = float(weights[min(range(len(off)), key=lambda i: (abs(off[i]), abs(weights[i])))])
        by_subject[subject] = min(crossed, key=abs) if crossed else nearest
    default = min(ordered, key=lambda point: (point.imbalance, abs(point.weight))).weight
    return Weights(default, by_subject)
