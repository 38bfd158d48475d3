"""What a protocol tells `evaluation.protocol.evaluate`: the sets of pictures to make, and what to measure on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.scoring import Question


@dataclass(frozen=True)
class Plan:
    """A set of pictures to make."""

    name: str
    """Its folder's in imgs/, e.g. "bias_gender_career"."""
    group: str
    """What its figures say they were measured on."""
    prompts: Sequence[str | Mapping[str, Any]]
    """As in `make_records`."""
    value: str | None
    """For methods that take a value statement; the base gets none."""
    value_images: int | None = None
    """How many pictures of each prompt have it; None is all."""


@dataclass(frozen=True)
class Measure:
    """What is asked about every picture of a set, and what becomes of the answers."""

    questions: Sequence[Question]
    results: Callable[[list[dict]], list[dict]]
    """The first judge's rows → the rows of results/."""
    figures: Callable[..., list[dict]]
    """All judges' rows, method=, group= → figure rows."""
    name: str = ""
    """Where a set is measured in several ways: follows the set's name in results/ and figures/."""
