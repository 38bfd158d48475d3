"""How near a concept and attributes are, in the text encoder's space and in the image encoder's. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student
from torch import Tensor

APART = 1.0  # standard deviations over the attributes


@dataclass(frozen=True)
class Relation:
    """How near one attribute is to a concept.

    Args:
        text: TERU, the cosine of the two texts' embeddings.
        image: VERU, the mean cosine of all pairs of a picture of the one and a picture of the other.
        low, high: its 95% interval; None where a single picture says nothing of others.
        text_place, image_place: standard deviations above the mean of the attributes, in each space; cosines of the
            two spaces are of different sizes, their order among the attributes can be compared.
        misaligned: whether the two places are `APART` or more, and the interval leaves the text's place out.
    """

    attribute: str
    text: float
    image: float
    low: float | None
    high: float | None
    text_place: float
    image_place: float
    misaligned: bool


def relations(
    attributes: Sequence[str], text: Tensor, texts: Tensor, images: Tensor, attribute_images: Sequence[Tensor]
) -> list[Relation]:
    """A relation an attribute.

    Args:
        attributes: k names.
        text, texts: unit vectors of the concept (D,) and of the attributes (k, D), by the text encoder.
        images, attribute_images: unit vectors of the concept's pictures (n, E), and of each attribute's (m, E).
    """
    cosines = [float(text @ other) for other in texts]
    pairs = [mean_of_pairs(images, other) for other in attribute_images]
    image = [value for value, _, _ in pairs]
    text_places, image_places = standardised(cosines), standardised(image)
    found = []
    for i, (attribute, (value, low, high)) in enumerate(zip(attributes, pairs, strict=True)):
        gap = image_places[i] - text_places[i]
        # the cosine that the pictures would have where the text encoder puts them
        expected = float(np.mean(image) + text_places[i] * np.std(image))
        certain = low is None or high is None or not low <= expected <= high
        places = float(text_places[i]), float(image_places[i])
        found.append(Relation(attribute, cosines[i], value, low, high, *places, bool(abs(gap) >= APART and certain)))
    return found


def mean_of_pairs(one: Tensor, other: Tensor, level: float = 0.95) -> tuple[float, float | None, float | None]:
    """The mean cosine over all pairs of two sets of pictures, with its interval.

    The mean over pairs is the product of the sets' mean vectors, and each picture counts in a whole row of pairs: so
    the variance is that of the row means over n plus that of the column means over m, as in Welch's t-test (1947). It
    holds pictures not seen of both sets.

    Args:
        one, other: unit vectors (n, D) and (m, D) of pictures made independently of each other.

    Returns:
        Mean, lower and upper limit; no limits where a set is a single picture.
    """
    rows, columns = (one @ other.mean(0)).double().numpy(), (other @ one.mean(0)).double().numpy()
    mean = float(rows.mean())
    if len(rows) < 2 or len(columns) < 2:
        return mean, None, None
    parts = [values.var(ddof=1) / len(values) for values in (rows, columns)]
    freedom = sum(parts) ** 2 / max(
        sum(part**2 / (len(values) - 1) for part, values in zip(parts, (rows, columns), strict=True)), 1e-300
    )
    reach = float(student.ppf((1 + level) / 2, max(freedom, 1.0)) * np.sqrt(sum(parts)))
    return mean, mean - reach, mean + reach


def standardised(values: ArrayLike) -> NDArray[np.float64]:
    """Standard deviations above the mean; zeros where all are alike."""
    centred = np.asarray(values, dtype=float) - np.mean(values)
    deviation = centred.std()
    return centred / deviation if deviation > 1e-12 else np.zeros_like(centred)
