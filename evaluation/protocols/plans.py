"""What a protocol hands to `evaluate`: the pictures to make, and what to measure on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diffusion_base.errors import UserError
from evaluation.figures.record import Figure, Subject
from evaluation.pictures.folders import PictureSet, read_pictures
from evaluation.pictures.given import rows_of
from evaluation.pictures.prompts import Split, read_prompt_files
from evaluation.scores.questions import Question


@dataclass(frozen=True)
class Measure:
    """What is asked about every picture of a set, and what becomes of the answers."""

    questions: Sequence[Question]
    figures: Callable[..., list[Figure]]
    """All judges' rows, method=, subject= → figures."""
    results: Callable[[list[dict]], list[dict]] | None = None
    """The first judge's rows → the rows of results/, if there are any."""
    name: str = ""
    """Where a set is measured in several ways: follows the set's name in results/ and figures/."""


@dataclass(frozen=True)
class Plan:
    """A set of pictures, and what is measured on it."""

    subject: Subject
    """What its figures are about; `subject.pictures` is its folder in imgs/, e.g. "bias_gender_career"."""
    measures: Sequence[Measure]
    rows: Sequence[dict] = ()
    """The prompts of the pictures to make, as in `make_records`."""
    value: str | None = None
    """For methods that take a value statement; the base gets none."""
    value_images: Split = None
    """How many pictures of each prompt have it; None is all."""
    records: Sequence[dict] | None = None
    """The pictures to make, one by one, in the place of `rows` and values."""
    pictures: PictureSet | None = None
    """Those that are there already: then none are made."""

    @property
    def name(self) -> str:
        return self.subject.pictures

    @property
    def lacks_value(self) -> bool:
        """Whether there is a prompt for which neither the protocol nor the prompt's own row has a value."""
        return self.value is None and any("value" not in row for row in self.rows)


def file_plans(
    plan_of: Callable[[str, list[dict]], Plan], files: Sequence[Path], given: Sequence[Path] = ()
) -> list[Plan]:
    """A set for each of LiVO's prompt files.

    Args:
        plan_of: of the file's name and its prompts.
        given: folders of pictures that are there already, each of one file's prompts; without files, a set for each,
            named by the folders.

    Raises:
        UserError: neither files nor folders, or two folders of a name; see `read_prompt_files` and `matched_plans`.
    """
    if not files and not given:
        raise UserError("--eval_data is needed, files of prompts; or --pictures, folders of what to judge")
    if files:
        plans = [plan_of(name, rows) for name, rows in read_prompt_files(files).items()]
        return matched_plans(plans, given) or plans
    sets = [read_pictures(folder) for folder in given]
    if len({pictures.name for pictures in sets}) < len(sets):
        raise UserError("--pictures: two folders have the same name, so their sets would too")
    return [replace(plan_of(pictures.name, rows_of(pictures)), pictures=pictures) for pictures in sets]


def matched_plans(plans: Sequence[Plan], folders: Sequence[Path]) -> list[Plan]:
    """Those of the plans for which there are pictures, with them: by the prompts.

    Raises:
        UserError: see `read_pictures` and `rows_of`; or two folders are of one plan.
    """
    found: dict[str, Plan] = {}
    for pictures in map(read_pictures, folders):
        own = {row["prompt"] for row in rows_of(pictures)}
        plan = max(plans, key=lambda plan: len(own & {row["prompt"] for row in plan.rows}))
        if plan.name in found:
            raise UserError(
                f"--pictures {pictures.folder}: another folder is of the same prompts ({plan.subject.prompt_set}) "
                "already"
            )
        found[plan.name] = replace(plan, pictures=pictures)
    return list(found.values())


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
