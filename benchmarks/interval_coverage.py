"""How often 95% intervals hold the truth, and how wide they are, for figures as they occur here.

    python benchmarks/interval_coverage.py --scores runs/quickstart/*/scores/*.jsonl
    python benchmarks/interval_coverage.py --differences

Each repetition draws prompts from a population whose mean is known. With `--scores` the prompts of score files are such
populations too: prompts are drawn from them with replacement, and so are the pictures of each. `--differences` does the
same for the difference of two methods, and also says how often one is called. Beside the intervals of
`evaluation.figures.intervals` stand betting's (Waudby-Smith & Ramdas 2024; constant bets averaged over all sizes, so
that the order of prompts makes no difference), which holds by theorem, and a beta-binomial, which counts pictures.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom

from diffusion_base.arguments import Count, parse
from diffusion_base.errors import UserError, run
from evaluation.figures.formulas import d1
from evaluation.figures.intervals import mean_interval, paired_difference

Array: TypeAlias = NDArray[np.float64]
Limits: TypeAlias = tuple[Array, Array]
TAIL = 0.025
UNBOUNDED = (-np.inf, np.inf)
Generator = np.random.Generator
Size = tuple[int, int]
RESAMPLED = 500  # figures of a prompt in score files, each of pictures drawn again


@dataclass
class Arguments:
    """Coverage and width of the intervals."""

    repetitions: Count = 2000
    """How many samples of each population."""
    prompts: tuple[Count, ...] = (8, 16, 20, 36, 200)
    """How many are in a sample."""
    methods: tuple[Literal["Gaffke", "bootstrap-t", "betting", "beta-binomial"], ...] = ()
    """By default all of them; with --differences there are the first two."""
    cases: tuple[str, ...] = ()
    """Populations whose names begin so; by default all."""
    scores: list[Path] = field(default_factory=list)
    """Score files to draw from."""
    scores_of_second: list[Path] = field(default_factory=list)
    """With --differences: those of the second method, in the same order."""
    differences: bool = False
    """Of two methods on the same prompts."""


class Population(NamedTuple):
    """`draw(rng, (repetitions, n))` gives figures of prompts, in [0, 1]; shares of as many `pictures`, if they are."""

    mean: float
    draw: Callable[[Generator, Size], Array]
    pictures: int | None = None

    def sample(self, rng: Generator, size: Size) -> tuple[float, tuple]:
        """The truth, and what an interval is made from."""
        return self.mean, (self.draw(rng, size), self.pictures)


def shares(pictures: int, *rates: float, of: Sequence[float] = (1.0,)) -> Population:
    """Shares of pictures; a prompt has each of the rates with the probability that stands at its place in `of`."""

    def draw(rng: Generator, size: Size) -> Array:
        return rng.binomial(pictures, rng.choice(rates, size, p=of)) / pictures

    return Population(float(np.dot(rates, of)), draw, pictures)


def d1_of_two(rng: Generator, size: Size, pictures: int = 50) -> Array:
    """D1 where most prompts show mostly one of two groups: shares of Beta(.3, .3)."""
    first = rng.binomial(pictures, rng.beta(0.3, 0.3, size))
    return np.abs(2 * first - pictures) / pictures


def true_d1(pictures: int = 50) -> float:
    first = np.arange(pictures + 1)
    return float(np.abs(2 * first / pictures - 1) @ betabinom.pmf(first, pictures, 0.3, 0.3))


POPULATIONS = {
    "normal": Population(0.5, lambda rng, size: rng.normal(0.5, 0.15, size).clip(0, 1)),
    "beta near 0": Population(0.2, lambda rng, size: rng.beta(0.3, 1.2, size)),
    "D1": Population(true_d1(), d1_of_two),
    "rate .01": shares(12, 0.01),
    "rate .02": shares(12, 0.02),
    "rate .05": shares(12, 0.05),
    "rate .10": shares(12, 0.1),
    "1 in 8 fails": shares(25, 0.04, 0.96, of=(7 / 8, 1 / 8)),
    "1 in 20 fails": shares(25, 0.04, 0.96, of=(19 / 20, 1 / 20)),
    "0 or 1, .02": shares(1, 0.02),
    "0 or 1, .1": shares(1, 0.1),
    "0 or 1, .3": shares(1, 0.3),
    "0 or 1, .5": shares(1, 0.5),
}


def one_by_one(interval: Callable[[Any], tuple], samples: Iterable) -> Limits:
    """Limits of each sample; the mean twice where it has none."""
    found = [interval(sample) for sample in samples]
    low, high = np.array([(row[1], row[2]) if row[1] is not None else (row[0], row[0]) for row in found]).T
    return low, high


def gaffke(samples: Array, pictures: int | None) -> Limits:
    return one_by_one(mean_interval, samples)


def bootstrap(samples: Array, pictures: int | None) -> Limits:
    low, high = one_by_one(lambda sample: mean_interval(sample, bounds=UNBOUNDED, resamples=2000), samples)
    return low.clip(0), high.clip(None, 1)


def betting(samples: Array, pictures: int | None) -> Limits:
    """Wealth ∫ Π (1 + b (x_i − m)) db of bets for and against a mean above m, half the stake each, under 1 / 5%."""
    nodes, weights = np.polynomial.legendre.leggauss(32)
    nodes, weights = (nodes + 1) / 2, weights / 2
    log_weights = np.log(weights / 2)

    def gain(m: Array) -> Array:
        both = []
        for outcomes, stake in ((samples - m[:, None], 1 / m), (m[:, None] - samples, 1 / (1 - m))):
            both.append(np.log1p(stake[:, None, None] * nodes[:, None] * outcomes[:, None, :]).sum(2) + log_weights)
        return np.logaddexp.reduce(np.concatenate(both, axis=1), axis=1) - np.log(1 / (2 * TAIL))

    return bisect(gain, samples.mean(1))


def bisect(excess: Callable[[Array], Array], inside: Array) -> Limits:
    """Where `excess`, which falls towards `inside` and rises after it, passes 0, in (0, 1)."""
    limits = []
    for end in (1e-9, 1 - 1e-9):
        out, within = np.full(len(inside), end), inside.clip(1e-9, 1 - 1e-9)
        for _ in range(18):
            middle = (out + within) / 2
            beyond = excess(middle) > 0
            out, within = np.where(beyond, middle, out), np.where(beyond, within, middle)
        limits.append(np.where(excess(np.full(len(inside), end)) > 0, out, end))
    return limits[0], limits[1]


def beta_binomial(samples: Array, pictures: int | None) -> Limits | None:
    """Rates of prompts from one beta distribution: the posterior of its mean, all means and correlations alike."""
    if pictures is None:
        return None
    mean, correlation = (np.arange(200)[:, None] + 0.5) / 200, (np.arange(15) + 0.5) / 15
    size = 1 / correlation - 1
    log_pmf = betabinom.logpmf(np.arange(pictures + 1)[:, None, None], pictures, mean * size, (1 - mean) * size)
    counts = np.rint(samples * pictures).astype(int)
    tally = np.array([np.bincount(row, minlength=pictures + 1) for row in counts], dtype=float)
    posterior = np.tensordot(tally, log_pmf, 1)
    posterior = np.exp(posterior - posterior.max((1, 2), keepdims=True)).sum(2)
    mass = np.cumsum(posterior, axis=1) / posterior.sum(1, keepdims=True)
    return mean[(mass < TAIL).sum(1), 0] - 0.0025, mean[(mass < 1 - TAIL).sum(1), 0] + 0.0025


METHODS: dict[str, Callable[..., Limits | None]] = {
    "Gaffke": gaffke,
    "bootstrap-t": bootstrap,
    "betting": betting,
    "beta-binomial": beta_binomial,
}


class Pairs(NamedTuple):
    """`draw` gives two methods' figures of the same prompts; `difference`: the first's mean less the second's."""

    difference: float
    draw: Callable[[Generator, Size], tuple[Array, Array]]

    def sample(self, rng: Generator, size: Size) -> tuple[float, tuple]:
        return self.difference, self.draw(rng, size)


def independent(first: Population, second: Population) -> Pairs:
    return Pairs(first.mean - second.mean, lambda rng, size: (first.draw(rng, size), second.draw(rng, size)))


def halves(rate: Callable[[Generator, Size], Array], of: Callable[[Array], Array] = lambda share: share) -> Pairs:
    """Two halves of 50 pictures of the same prompts."""

    def draw(rng: Generator, size: Size) -> tuple[Array, Array]:
        rates = rate(rng, size)
        return of(rng.binomial(25, rates) / 25), of(rng.binomial(25, rates) / 25)

    return Pairs(0, draw)


def halved(rng: Generator, size: Size) -> tuple[Array, Array]:
    first = d1_of_two(rng, size)
    return first / 2, first


PAIRS = {
    "halves, rates": halves(lambda rng, size: rng.random(size)),
    "halves, near 0": halves(lambda rng, size: rng.beta(1, 99, size)),
    "halves, D1": halves(lambda rng, size: rng.beta(0.3, 0.3, size), lambda share: np.abs(2 * share - 1)),
    "equal means, 1 in 8 fails": independent(POPULATIONS["1 in 8 fails"], shares(25, 0.155)),
    "equal means, 1 in 20 fails": independent(POPULATIONS["1 in 20 fails"], shares(25, 0.086)),
    "0 or 1, .3 and .3": independent(shares(1, 0.3), shares(1, 0.3)),
    "0 or 1, .1 and .3": independent(shares(1, 0.1), shares(1, 0.3)),
    "D1 halved": Pairs(-true_d1() / 2, halved),
    ".9 to .04, 1 in 8 fails": independent(POPULATIONS["1 in 8 fails"], shares(25, 0.9)),
    ".9 to .04, 1 in 20 fails": independent(POPULATIONS["1 in 20 fails"], shares(25, 0.9)),
    ".30 to .20": independent(shares(25, 0.2), shares(25, 0.3)),
    ".06 to .02": independent(shares(25, 0.02), shares(25, 0.06)),
}


def paired(bounds: tuple[float, float], resamples: int) -> Callable[[Array, Array], Limits]:
    def limits(first: Array, second: Array) -> Limits:
        def difference(row: tuple[Array, Array]) -> tuple:
            return paired_difference(*row, bounds=bounds, resamples=resamples)

        return one_by_one(difference, zip(first, second, strict=True))

    return limits


PAIRED = {"Gaffke": paired((0, 1), 10_000), "bootstrap-t": paired(UNBOUNDED, 2_000)}


def prompts_of(file: Path) -> dict[str, dict[tuple, Array]]:
    """R and D1 of the prompts of a score file, by each judge: of pictures drawn again, (RESAMPLED,)."""
    rng = np.random.default_rng(0)
    prompts: dict[tuple, list[dict]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        prompts.setdefault((row["judge"], *row.get("choices", []), row["prompt"]), []).append(row)
    found: dict[str, dict[tuple, Array]] = {"R": {}, "D1": {}}
    for key, rows in prompts.items():
        drawn = rng.integers(0, len(rows), (RESAMPLED, len(rows)))
        if "score" in rows[0]:
            found["R"][key] = np.array([row["score"] > row["threshold"] for row in rows])[drawn].mean(1)
        else:
            shown = np.array([[row["answer"] == choice for choice in row["choices"]] for row in rows])
            found["D1"][key] = d1(shown[drawn].sum(1))
    return found


def populations_of(files: Sequence[Path]) -> dict[str, Population]:
    found, read = {}, [prompts_of(file) for file in files]
    for metric in ("R", "D1"):
        if figures := [figure for of in read for figure in of[metric].values()]:
            pairs = drawn_alike(np.stack(figures), np.stack(figures))
            found[f"{metric} in files"] = Population(
                float(np.mean(figures)), lambda *of, pairs=pairs: pairs.draw(*of)[0]
            )
    return found


def pairs_of(firsts: Sequence[Path], seconds: Sequence[Path]) -> dict[str, Pairs]:
    """The differences of two runs in their score files, and of two drawings from the first."""
    if len(firsts) != len(seconds):
        raise UserError("--scores and --scores_of_second must name the same files of two runs")
    found, read = {}, [(prompts_of(first), prompts_of(second)) for first, second in zip(firsts, seconds, strict=True)]
    for metric in ("R", "D1"):
        if both := [(ours[metric][key], theirs[metric][key]) for ours, theirs in read for key in ours[metric]]:
            first, second = map(np.stack, zip(*both, strict=True))
            found[f"halves, {metric} in files"] = drawn_alike(first, first)
            found[f"{metric} in files"] = drawn_alike(second, first)
    return found


def drawn_alike(first: Array, second: Array) -> Pairs:
    """Of figures (prompts, RESAMPLED) of two methods, those of the same prompts."""

    def draw(rng: Generator, size: Size) -> tuple[Array, Array]:
        prompt = rng.integers(0, len(first), size)
        return first[prompt, rng.integers(0, RESAMPLED, size)], second[prompt, rng.integers(0, RESAMPLED, size)]

    return Pairs(float(first.mean() - second.mean()), draw)


def main(argv: Sequence[str] | None = None) -> dict[tuple[str, str, int], tuple[float, ...]]:
    """Prints a row a population and method; returns coverage, width and, of differences, how often one is called."""
    arguments = parse(Arguments, argv, prog="interval_coverage.py")
    cases: Mapping[str, Population | Pairs]
    if arguments.differences:
        cases = PAIRS | pairs_of(arguments.scores, arguments.scores_of_second)
    else:
        cases = POPULATIONS | populations_of(arguments.scores)
    methods = PAIRED if arguments.differences else METHODS
    wanted = [name for name in cases if not arguments.cases or name.startswith(arguments.cases)]
    if not wanted:
        raise UserError(f"no population's name begins with {arguments.cases[0]!r}; there are {', '.join(cases)}")
    print(" " * 43 + "".join(f"{n:>18}" for n in arguments.prompts))
    found = {}
    for name in wanted:
        for method in [method for method in methods if not arguments.methods or method in arguments.methods]:
            line = ""
            for n in arguments.prompts:
                truth, samples = cases[name].sample(np.random.default_rng(n), (arguments.repetitions, n))
                if (limits := methods[method](*samples)) is not None:
                    low, high = limits
                    row = [np.mean((low <= truth + 1e-9) & (truth - 1e-9 <= high)), np.mean(high - low)]
                    row += [np.mean((low > 0) | (high < 0))] * arguments.differences
                    found[name, method, n] = tuple(map(float, row))
                    line += "".join(f"{value:6.3f}" for value in row).rjust(18)
            if line:
                print(f"{name:28}{method:15}{line}", flush=True)
    return found


if __name__ == "__main__":
    run(main)
