"""How often 95% intervals hold the truth where a method was trained several times, and how wide they are.

    python benchmarks/seed_coverage.py

Each repetition draws seeds and prompts from a world whose mean is known: figures (seeds, prompts) of 25 pictures each.
Beside the interval of `evaluation.figures` ("joined") stand that over prompts alone, and two-way Bayesian bootstraps
(Owen & Eckles 2012: every seed and every prompt has a weight, a figure the product), "pigeonhole" with one more prompt
at the bound as Gaffke's has it, "and a seed" with one more seed there too. The last column of a row is how often
"joined" calls a difference between two methods that are the same: other seeds of one world, the same prompts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffusion_base.arguments import Count, parse
from diffusion_base.errors import UserError, run
from evaluation.figures.intervals import mean_interval, paired_difference

Array: TypeAlias = NDArray[np.float64]
Generator = np.random.Generator
Size = tuple[int, int, int]
PICTURES = 25
RESAMPLES = 2000


@dataclass
class Arguments:
    """Coverage and width of intervals over prompts and training seeds."""

    repetitions: Count = 1000
    """How many samples of each world."""
    seeds: tuple[Count, ...] = (2, 3, 5)
    """How many are trained."""
    prompts: tuple[Count, ...] = (8, 20, 60)
    """How many are in a sample."""
    methods: tuple[Literal["joined", "prompts alone", "pigeonhole", "and a seed"], ...] = ()
    """By default all of them."""
    cases: tuple[str, ...] = ()
    """Worlds whose names begin so; by default all."""


class World(NamedTuple):
    """`rates(rng, (repetitions, seeds, prompts))` gives rates of pictures, of this mean."""

    mean: float
    rates: Callable[[Generator, Size], Array]

    def draw(self, rng: Generator, size: Size) -> Array:
        return rng.binomial(PICTURES, np.broadcast_to(self.rates(rng, size), size)) / PICTURES


def by_seed(size: Size) -> Size:
    return size[0], size[1], 1


def by_prompt(size: Size) -> Size:
    return size[0], 1, size[2]


def fails(share: float, of: Callable[[Size], Size]) -> World:
    """This share of seeds, of prompts, or of their pairs fails at .96; the others do at .04."""
    return World(0.04 + 0.92 * share, lambda rng, size: np.where(rng.random(of(size)) < share, 0.96, 0.04))


def prone(a: float, b: float) -> World:
    """Of each seed other prompts fail wholly, at a rate of its own of Beta(a, b); so do 1 in 20 of all seeds."""
    share = 1 - 0.95 * b / (a + b)

    def rates(rng: Generator, size: Size) -> Array:
        own = rng.random(size) < rng.beta(a, b, by_seed(size))
        return np.where(own | (rng.random(by_prompt(size)) < 0.05), 0.96, 0.04)

    return World(0.04 + 0.92 * share, rates)


WORLDS = {
    "nothing differs, .05": World(0.05, lambda rng, size: np.full(size, 0.05)),
    "prompts: 1 in 8 fails": fails(1 / 8, by_prompt),
    "prompts: 1 in 20 fails": fails(1 / 20, by_prompt),
    "prompts: Beta(.3, 1.2)": World(0.2, lambda rng, size: rng.beta(0.3, 1.2, by_prompt(size))),
    "seeds: normal, .3 ± .1": World(0.3, lambda rng, size: rng.normal(0.3, 0.1, by_seed(size)).clip(0, 0.6)),
    "seeds: Beta(1, 9)": World(0.1, lambda rng, size: rng.beta(1, 9, by_seed(size))),
    "seeds: Beta(.5, 4.5)": World(0.1, lambda rng, size: rng.beta(0.5, 4.5, by_seed(size))),
    "pairs: 1 in 8 fails": fails(1 / 8, lambda size: size),
    "pairs: 1 in 20 fails": fails(1 / 20, lambda size: size),
    "all: seeds' Beta(2, 18)": prone(2, 18),
    "all: seeds' Beta(.5, 4.5)": prone(0.5, 4.5),
    "seeds: 1 in 20 fails": fails(1 / 20, by_seed),
    "seeds: 1 in 8 fails": fails(1 / 8, by_seed),
    "seeds: 1 in 3 fails": fails(1 / 3, by_seed),
}


def joined(sample: Array) -> tuple:
    return mean_interval(sample.mean(0), seeds=list(sample.mean(1)), resamples=RESAMPLES)[1:]


def prompts_alone(sample: Array) -> tuple:
    return mean_interval(sample.mean(0), resamples=RESAMPLES)[1:]


@lru_cache
def weights(n: int) -> Array:
    """Of n seeds or prompts, uniform among all that sum to 1: (RESAMPLES, n)."""
    return np.random.default_rng(n).dirichlet(np.ones(n), RESAMPLES)


def two_way(more_seeds: int) -> Callable[[Array], tuple]:
    """The bootstrap with as many more seeds at the bound."""

    def limits(sample: Array) -> tuple:
        of_seeds, of_prompts = (weights(n) for n in np.add(sample.shape, (more_seeds, 1)))
        seen = np.einsum("bs,bp,sp->b", of_seeds[:, : len(sample)], of_prompts[:, 1:], sample, optimize=True)
        unseen = 1 - of_seeds[:, : len(sample)].sum(1) * (1 - of_prompts[:, 0])
        return np.quantile(seen, 0.025), np.quantile(seen + unseen, 0.975)

    return limits


METHODS: dict[str, Callable[[Array], tuple]] = {
    "joined": joined,
    "prompts alone": prompts_alone,
    "pigeonhole": two_way(0),
    "and a seed": two_way(1),
}


def called(first: Array, second: Array) -> bool:
    """Whether two methods (seeds, prompts) are called different."""
    means, seeds = (first.mean(0), second.mean(0)), [list(first.mean(1)), list(second.mean(1))]
    return paired_difference(*means, bounds=(0, 1), seeds=seeds, resamples=RESAMPLES).significant


def main(argv: Sequence[str] | None = None) -> dict[tuple[str, str, int, int], tuple[float, ...]]:
    """Prints a row a world and method; returns coverage, width and, of "joined", how often the same is called other."""
    arguments = parse(Arguments, argv, prog="seed_coverage.py")
    wanted = [name for name in WORLDS if not arguments.cases or name.startswith(arguments.cases)]
    if not wanted:
        raise UserError(f"no world's name begins with {arguments.cases[0]!r}; there are {', '.join(WORLDS)}")
    sizes = [(k, n) for k in arguments.seeds for n in arguments.prompts]
    print(" " * 42 + "".join(f"{f'{k} × {n}':>19}" for k, n in sizes))
    found = {}
    for name in wanted:
        for method in [method for method in METHODS if not arguments.methods or method in arguments.methods]:
            line = ""
            for k, n in sizes:
                world, rng = WORLDS[name], np.random.default_rng([k, n])
                samples = world.draw(rng, (arguments.repetitions, 2 * k, n))
                low, high = np.array([METHODS[method](sample[:k]) for sample in samples]).T
                row = [np.mean((low <= world.mean + 1e-9) & (world.mean - 1e-9 <= high)), np.mean(high - low)]
                if method == "joined":
                    row.append(np.mean([called(sample[:k], sample[k:]) for sample in samples]))
                found[name, method, k, n] = tuple(map(float, row))
                line += "".join(f"{value:6.3f}" for value in row).rjust(19)
            print(f"{name:27}{method:15}{line}", flush=True)
    return found


if __name__ == "__main__":
    run(main)
