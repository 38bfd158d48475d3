"""What a protocol hands to `evaluation.protocol.evaluate`: the pictures to make, and what to measure on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusion_base.errors import UserError
from evaluation.prompts import Split, read_prompt_files
from evaluation.scoring import Question


@dataclass(frozen=True)
class Plan:
    """A set of pictures to make."""

    name: str
    """Its folder's in imgs/, e.g. "bias_gender_career"."""
    group: str
    """What its figures say they were measured on."""
    rows: Sequence[dict]
    """Its prompts, as in `make_records`."""
    value: str | None
    """For methods that take a value statement; the base gets none."""
    value_images: Split = None
    """How many pictures of each prompt have it; None is all."""
    asked: frozenset[str] | None = None
    """Which of a measure's questions are asked of it, by name; None is all of them."""

    @property
    def lacks_value(self) -> bool:
        """Whether there is a prompt for which neither the protocol nor the prompt's own row has a value."""
        return self.value is None and any("value" not in row for row in self.rows)


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


def livo_plans(kind: str, files: Sequence[Path], value: str | None, value_images: int | None = None) -> list[Plan]:
    """A set for each of LiVO's prompt files, called after `kind` and the file.

    Raises:
        UserError: see `read_prompt_files`.
    """
    sets = read_prompt_files(files)
    return [Plan(f"{kind}_{stem}", stem, rows, value, value_images) for stem, rows in sets.items()]


def half(images_per_prompt: int) -> int:
    """How many pictures of each prompt get a bias value.

    Raises:
        UserError: the number is odd.
    """
    if images_per_prompt % 2:
        raise UserError(
            f"--images_per_prompt {images_per_prompt}: half of them get the value, so there must be an even number"
        )
    return images_per_prompt // 2
