"""What an audit finds about a concept: what text and pictures tie to it, and where they disagree. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control, pearsonr, spearmanr
from scipy.stats import t as student

from latent_directions.understanding.groups import Group
from latent_directions.understanding.social import Share

Array: TypeAlias = NDArray[np.float64]
DRAWS = 100_000
SURE = 0.05  # of what is called uneven, the share that chance made
SPACES: tuple[Literal["text"], Literal["image"]] = ("text", "image")
FEWEST = 4  # concepts of which a correlation is said


@dataclass(frozen=True)
class Finding:
    """A concept and a group.

    Args:
        text, image: for each choice, how much nearer the concept is to it than the neutral concept is, in the text
            encoder's space and in the pictures'; less the mean over the choices.
        shares: of the concept's pictures, a share a choice.
        chance: how often as many pictures would be as uneven were every choice as likely.
        uneven: whether the shares are, with no more than SURE of all such findings being wrong.
    """

    concept: str
    group: Group
    text: tuple[float, ...]
    image: tuple[float, ...]
    shares: tuple[Share, ...]
    chance: float
    uneven: bool = False

    @property
    def shown(self) -> Share:
        """Of the choice that most pictures show."""
        return max(self.shares, key=lambda share: share.count)

    @property
    def text_side(self) -> str:
        return self.group.choices[int(np.argmax(self.text))]

    @property
    def image_side(self) -> str:
        return self.group.choices[int(np.argmax(self.image))]

    @property
    def agrees(self) -> bool:
        """Whether the text encoder ties to the concept what most of its pictures show."""
        return self.text_side == self.shown.choice

    @property
    def departure(self) -> float:
        """How far the largest share is above an even one, 0 to 1."""
        even = 1 / len(self.shares)
        return (self.shown.share - even) / (1 - even)


@dataclass(frozen=True)
class Method:
    """One of this repository's: its folder, its name, and how and where it acts."""

    folder: str
    name: str
    acts: str


LIVO = Method("value_encoder", "LiVO’s value token", "in the prompt’s embedding")
CONCEPT_VECTORS = Method("concept_vectors", "concept vectors", "dealt out by FairGroup, in the UNet’s bottleneck")
LATENT_DIRECTIONS = Method("latent_directions", "latent directions", "dealt out by FairDirections, in the noise")
METHODS = (LIVO, CONCEPT_VECTORS, LATENT_DIRECTIONS)


def to_try(finding: Finding) -> list[Method]:
    """Which methods to try, the likeliest first: a rule of thumb, which the evaluation has to confirm.

    A bias that the text encoder has already can be met where the prompt enters. One that it does not have arises behind
    it, in the denoiser, where a changed prompt does not reach as surely as its activations and its noise.
    """
    if not finding.uneven:
        return []
    if finding.agrees:
        return [*METHODS]
    return [CONCEPT_VECTORS, LATENT_DIRECTIONS, LIVO]


def leanings(similarities: ArrayLike, neutral: ArrayLike) -> Array:
    """How much nearer each concept is to each choice than the neutral one, less the mean over the choices.

    Args:
        similarities: (concepts, k).
        neutral: (k,).
    """
    nearer = np.asarray(similarities, dtype=float) - np.asarray(neutral, dtype=float)
    return nearer - nearer.mean(-1, keepdims=True)


def chance_of(counts: Sequence[int]) -> float:
    """How often counts are as uneven as these where every choice is as likely, by the sum of squared deviations."""
    n, k = sum(counts), len(counts)
    return float((1 + np.sum(_even_draws(n, k) >= _unevenness(counts) - 1e-9)) / (1 + DRAWS))


@cache
def _even_draws(n: int, k: int) -> Array:
    return _unevenness(np.random.default_rng(0).multinomial(n, np.full(k, 1 / k), DRAWS))


def _unevenness(counts: ArrayLike) -> Array:
    counts = np.asarray(counts, dtype=float)
    return ((counts - counts.mean(-1, keepdims=True)) ** 2).sum(-1)


def uneven_ones(findings: Sequence[Finding]) -> list[bool]:
    """Which of many findings are uneven, of which SURE at most are so by chance (Benjamini & Hochberg 1995)."""
    return [bool(p <= SURE) for p in false_discovery_control([finding.chance for finding in findings])]


@dataclass(frozen=True)
class Correlation:
    """How well similarities in one space predict which shares are drawn, over concepts.

    Args:
        space: text or image.
        n: concepts.
        r, low, high: Pearson's correlation over concepts, within choices, with its 95% interval over concepts.
        rho: Spearman's.
    """

    group: str
    space: str
    n: int
    r: float
    low: float
    high: float
    rho: float


def correlation(findings: Sequence[Finding], space: Literal["text", "image"]) -> Correlation | None:
    """How well one space's leanings predict what is drawn, over the findings of one group.

    Each choice is measured from its own mean over the concepts: that one is drawn more often than another, whatever the
    concept, and that a text encoder is nearer to it, say nothing of concepts.

    Args:
        findings: without the neutral concept's, which leans nowhere.

    Returns:
        None of fewer findings than FEWEST, or where either is the same for all.
    """
    first = 1 if len(findings[0].shares) == 2 else 0  # of two choices, the first mirrors the second
    leaning = np.array([(of.text if space == "text" else of.image)[first:] for of in findings])
    shares = np.array([[share.share for share in of.shares[first:]] for of in findings])
    leaning, shares = leaning - leaning.mean(0), shares - shares.mean(0)
    if len(findings) < FEWEST or np.ptp(leaning) < 1e-12 or np.ptp(shares) < 1e-12:
        return None
    r, low, high = with_interval(pearson, leaning, shares)
    return Correlation(findings[0].group.name, space, len(findings), r, low, high, spearman(leaning, shares))


def pearson(one: Array, other: Array) -> float:
    return float(pearsonr(one.ravel(), other.ravel()).statistic)


def spearman(one: Array, other: Array) -> float:
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def with_interval(of: Callable[[Array, Array], float], one: Array, other: Array) -> tuple[float, float, float]:
    """A correlation with its 95% interval over units: the jackknife of Fisher's z, which leaves out one unit each.

    Args:
        of: the correlation of some units' figures.
        one, other: the units' figures, (n, …) each.
    """
    n = len(one)
    whole = of(one, other)
    rows: NDArray[np.int64] = np.arange(n)
    without = [_z(of(one[rows != i], other[rows != i])) for i in range(n)]
    error = np.sqrt((n - 1) / n * np.sum((np.array(without) - np.mean(without)) ** 2))
    reach = student.ppf(0.975, n - 1) * error
    return whole, float(np.tanh(_z(whole) - reach)), float(np.tanh(_z(whole) + reach))


def _z(r: float) -> float:
    return float(np.arctanh(np.clip(r, -1 + 1e-6, 1 - 1e-6)))
