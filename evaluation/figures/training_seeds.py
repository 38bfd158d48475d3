"""What training seeds add to an interval: a method trained k times is as good as the seeds it happened to get.

The mean of k trainings over n prompts is off by what these prompts and by what these seeds are. For the first there is
Gaffke's interval (or the bootstrap's) of the prompts' means over seeds; for the second Student's over the k means of
the seeds, which hold what seeds have in common at all prompts and how they differ by prompt. The two reaches are joined
as a right angle's sides are, √(a² + b²): so limits of a sum are recovered from limits of its parts ("MOVER"; Zou &
Donner 2008). How seeds differ by prompt is counted in both, so these intervals are a little wide.

Student's t takes seeds' means for normally distributed, and makes up for their number: ±9.0 standard deviations at 2
seeds, ±2.5 at 3, ±1.2 at 5. It can't know of seeds unlike those seen. Where k of them agree, up to 1 − .025^(1/k) of
all seeds may be bad ones (.84 at 2, .71 at 3, .52 at 5): limits that held for these too would say nothing. Coverage in
both worlds: docs/intervals.md.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

ROUNDING = 1e-12


def seed_reach(seeds: Sequence[Sequence[float]], tail: NDArray | float) -> NDArray | float:
    """How far a mean over seeds may be off to one side.

    Args:
        seeds: for each method whose mean it is, or of two whose difference it is, the means of its seeds.
        tail: the probability of being off further.

    One seed says nothing of others, and adds nothing.
    """
    errors = [(np.std(of, ddof=1) / np.sqrt(len(of)), len(of) - 1) for of in seeds if len(of) > 1]
    reaches = [stdtrit(df, 1 - np.asarray(tail)).clip(0) * error for error, df in errors if error > ROUNDING]
    return np.sqrt(sum(np.square(reaches))) if reaches else np.zeros_like(tail, dtype=float)


def below(mean: float, lows: NDArray, of_seeds: NDArray | float) -> NDArray:
    """Lower limits from those over prompts and the reach over seeds."""
    return mean - np.hypot(np.maximum(mean - lows, 0), of_seeds)
