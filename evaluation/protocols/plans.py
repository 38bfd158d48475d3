"""What a protocol hands to `evaluate`: the pictures to make, and what to measure on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diffusion_base.errors import UserError
from evaluation.pictures.folders import PictureSet, read_pictures
from evaluation.pictures.given import rows_of
from evaluation.pictures.prompts import Split, read_prompt_files
from evaluation.scores.scoring import Question


@dataclass(frozen=True)
class Plan:
    """A set of pictures to make."""

    name: str
    """Its folder's in imgs/, e.g. "bias_gender_career"."""
    group: str
    """What its figures say they were measured on."""
    rows: Sequence[dict]
    """Its prompts, as in `make_records`."""
    value: str | None = None
    """For methods that take a value statement; the base gets none."""
    value_images: Split = None
    """How many pictures of each prompt have it; None is all."""
    pictures: PictureSet | None = None
    """Those that are there already: then none are made."""
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


def livo_plans(
    kind: str,
    files: Sequence[Path],
    value: str | None,
    value_images: int | None = None,
    given: Sequence[Path] = (),
) -> list[Plan]:
    """A set for each of LiVO's prompt files, called after `kind` and the file.

    Args:
        given: folders of pictures that are there already, each of one file's prompts; without files, a set for each.

    Raises:
        UserError: neither files nor folders; see `read_prompt_files`, `matched_plans` and `given_plans`.
    """
    if not files and not given:
        raise UserError("--eval_data is needed, files of prompts; or --pictures, folders of what to judge")
    if not files:
        return given_plans(kind, given)
    sets = read_prompt_files(files)
    plans = [Plan(f"{kind}_{stem}", stem, rows, value, value_images) for stem, rows in sets.items()]
    return matched_plans(plans, given) or plans


def given_plans(kind: str, folders: Sequence[Path]) -> list[Plan]:
    """A set for each folder of pictures that are there already, called after `kind` and the folder.

    Raises:
        UserError: see `read_pictures` and `rows_of`; or two folders have the same name.
    """
    sets = [read_pictures(folder) for folder in folders]
    if len({pictures.name for pictures in sets}) < len(sets):
        raise UserError("--pictures: two folders have the same name, so their sets would too")
    return [Plan(f"{kind}_{pictures.name}", pictures.name, rows_of(pictures), pictures=pictures) for pictures in sets]


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
                f"--pictures {pictures.folder}: another folder is of the same prompts ({plan.group}) already"
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
