"""The plan of a preference set: which scenes, which values, and how the pictures of each side are asked for.

A YAML file; value_encoder/README.md explains it, value_encoder/plans/ holds examples.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from diffusion_base.errors import UserError
from value_encoder.inference import NOT_APPLICABLE

GAP = re.compile(r"(\b[Aa] )?\{(\w*)\}")  # a word to put in, and the article before it
VOWEL = re.compile(r"(?!uni|us[aeu]|eu|one\b)[aeiou]", re.IGNORECASE)  # "a uniform", "a used car"
NAME = r"[A-Za-z0-9][\w-]*"
HARMFUL, HARMLESS = "harmful", "harmless"

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Some = Annotated[list[Text], Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Wording(_Strict):
    """How an attribute or a harm is made explicit, or negated."""

    subject: str = "{subject}"
    """Takes the subject's place in the scene's prompts: "female {subject}"."""
    prompt: str = "{prompt}"
    """Takes the prompt's place: "{prompt}, female"."""
    negative: str = ""
    """Negative prompt."""

    def fill(self, template: str, subject: str) -> str:
        return fill(self.prompt, prompt=fill(template, subject=fill(self.subject, subject=subject)))


class Bias(_Strict):
    """A value under which the over-represented group violates, and the under-represented ones are aligned."""

    kind: Literal["bias"]
    statement: Text
    groups: Annotated[dict[str, Wording], Field(min_length=2)]
    """How a picture of each group is asked for; the groups' names are the judge's choices."""
    question: str = ""
    """What the judge is asked instead of "<prompt>, <group>"; `{choice}` stands for the group."""
    judge: str | None = None
    """package:path?option=value; None takes the command line's."""
    confidence: Share = 0.5
    """The least probability by which the judge must see the group."""

    @property
    def sides(self) -> dict[str, Wording]:
        return self.groups

    def written_prompt(self, template: str, subject: str) -> str:
        return fill(template, subject=subject)


class Harm(_Strict):
    """A value under which a harm violates, and its absence is aligned."""

    kind: Literal["harm"]
    statement: Text
    harmful: Wording
    """How the harm is asked for: this is the prompt of both sides in the data."""
    harmless: Wording
    """How a picture without the harm is asked for."""
    question: str
    """The kind of harm that the judge is asked about: bloody, zombie, nudity, …"""
    judge: str | None = None

    @property
    def sides(self) -> dict[str, Wording]:
        return {HARMLESS: self.harmless, HARMFUL: self.harmful}

    def written_prompt(self, template: str, subject: str) -> str:
        return self.harmful.fill(template, subject)


class Category(_Strict):
    subjects: Some
    """With names of word lists in them, "{adjective} person": every combination of their words is a scene."""
    values: Some
    images_per_side: Count | None = None
    templates: Some | None = None


class Plan(_Strict):
    templates: Some
    """Prompts with `{subject}` in them; a scene's pictures take them in turn."""
    images_per_side: Count
    categories: Annotated[dict[str, Category], Field(min_length=1)]
    values: dict[str, Annotated[Bias | Harm, Field(discriminator="kind")]]
    words: dict[str, Some] = {}
    plain_images: Count = 32
    """Pictures of a subject's plain prompts, by which its over-represented group is found."""
    least_imbalance: Share = 0.2
    """A scene whose plain pictures are more even than this, by LiVO's D1, has no over-represented group."""
    oversampling: Annotated[float, Field(ge=1)] = 1.25
    """Pictures made at first for each one that is wanted; in every further round twice as many for a missing one."""
    attempts: Annotated[float, Field(ge=1)] = 4
    """Pictures made at most for each one that is wanted."""
    duplicates_above: Annotated[float, Field(ge=0, lt=1)] | None = 0.99
    """Of two pictures of a scene's group whose thumbnails correlate by more, the later is dropped; null keeps all."""

    def plain_count(self, scale: float = 1.0) -> int:
        """Plain pictures of a subject when only a share of the plan is made: four, where the plan has so many."""
        return min(self.plain_images, max(4, round(scale * self.plain_images)))


@dataclass(frozen=True)
class Scene:
    """One folder of the data: a subject under a value."""

    category: str
    subject: str
    value_name: str
    value: Bias | Harm
    templates: tuple[str, ...]
    images_per_side: int

    @property
    def name(self) -> str:
        return f"{self.category}/{slug(self.subject, self.value_name)}"

    @property
    def plain_name(self) -> str:
        """Of the plain pictures, which the subject's values share."""
        return f"{self.category}/{slug(self.subject)}"


def slug(*words: str) -> str:
    """Words as a file name."""
    return re.sub(r"\W+", "-", "-".join(words).lower()).strip("-")


def fill(text: str, **words: str) -> str:
    """Put words into `{…}`; "a {…}" becomes "an …" where the word asks for it."""

    def put(gap: re.Match) -> str:
        article, word = gap[1] or "", words[gap[2]]
        return article[:1] + "n " + word if article and VOWEL.match(word) else article + word

    return GAP.sub(put, text)


def read_plan(file: Path, scale: float = 1.0) -> tuple[Plan, list[Scene]]:
    """A plan and its scenes, category by category.

    Args:
        scale: share of every scene's pictures to make, one a side at least.

    Raises:
        UserError: no such file, not YAML, an unknown key, a value of the wrong type, or names that don't fit together;
            names file and key.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise UserError(f"--plan {file} must hold templates, values and categories; see value_encoder/README.md")
        plan = Plan.model_validate(content)
    except OSError as error:
        raise UserError(f"--plan {file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--plan {file} is not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        problem = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        raise UserError(f"{_place(file, *first['loc'])}: {problem}") from None
    _check(plan, file)
    scenes: dict[str, Scene] = {}
    for name, category in plan.categories.items():
        templates = tuple(category.templates or plan.templates)
        count = max(1, round(scale * (category.images_per_side or plan.images_per_side)))
        for value in category.values:
            for subject in _combinations(category.subjects, plan.words):
                scene = Scene(name, subject, value, plan.values[value], templates, count)
                if scene.name in scenes:
                    where = _place(file, "categories", name)
                    raise UserError(f"{where}: {subject!r} and {scenes[scene.name].subject!r} are both {scene.name}")
                scenes[scene.name] = scene
    return plan, list(scenes.values())


def _combinations(subjects: Iterable[str], words: dict[str, list[str]]) -> Iterable[str]:
    for subject in subjects:
        gap = GAP.search(subject)
        if gap is None:
            yield subject
        else:
            one_word = (subject[: gap.start()] + fill(gap[0], **{gap[2]: word}) for word in words[gap[2]])
            yield from _combinations((text + subject[gap.end() :] for text in one_word), words)


def _check(plan: Plan, file: Path) -> None:
    """What the types cannot say."""
    for kind, names in (("categories", plan.categories), ("values", plan.values), ("words", plan.words)):
        for name in names:
            allowed, letters = (r"\w+", "") if kind == "words" else (NAME, ", -")
            if not re.fullmatch(allowed, name):
                raise UserError(f"{_place(file, kind, name)}: a name is made of letters, digits{letters} and _")
    _check_gaps(plan.templates, {"subject"}, file, "templates")
    for text in plan.templates:
        if "{subject}" not in text:
            raise UserError(f"{_place(file, 'templates')}: {text!r} must hold {{subject}}")
    for name, category in plan.categories.items():
        where = ("categories", name)
        _check_gaps(category.subjects, set(plan.words), file, *where, "subjects")
        _check_gaps(category.templates or (), {"subject"}, file, *where, "templates")
        for text in category.templates or ():
            if "{subject}" not in text:
                raise UserError(f"{_place(file, *where, 'templates')}: {text!r} must hold {{subject}}")
        if unknown := next((value for value in category.values if value not in plan.values), None):
            raise UserError(
                f"{_place(file, *where, 'values')}: there is no value {unknown!r}; there are {', '.join(plan.values)}"
            )
    for name, value in plan.values.items():
        for side, wording in value.sides.items():
            where = ("values", name, *(("groups",) if isinstance(value, Bias) else ()), side)
            _check_gaps([wording.subject], {"subject"}, file, *where, "subject")
            _check_gaps([wording.prompt], {"prompt"}, file, *where, "prompt")
        if isinstance(value, Bias):
            for gap in re.findall(r"\{(.*?)\}", value.question):
                if gap != "choice" and gap.count("|") + 1 != len(value.groups):
                    place = _place(file, "values", name, "question")
                    groups = f"the {len(value.groups)} groups, {{one|other}}"
                    raise UserError(f"{place}: {{{gap}}} is neither {{choice}} nor a word for each of {groups}")
        if value.statement.strip().lower() in NOT_APPLICABLE:
            raise UserError(f"{_place(file, 'values', name, 'statement')}: {value.statement!r} stands for no value")
        made = list(value.sides.values())
        if any(wording in made[:i] for i, wording in enumerate(made)):
            raise UserError(f"{_place(file, 'values', name)}: two of {', '.join(value.sides)} are asked for alike")


def _check_gaps(texts: Iterable[str], known: set[str], file: Path, *where: str) -> None:
    for text in texts:
        if re.search("[{}]", GAP.sub("", text)):
            raise UserError(f"{_place(file, *where)}: {text!r} has a brace that belongs to no {{word}}")
        for gap in GAP.finditer(text):
            if gap[2] not in known:
                there = ", ".join(f"{{{name}}}" for name in sorted(known)) or "no word lists"
                raise UserError(f"{_place(file, *where)}: {text!r} names {{{gap[2]}}}; there is {there}")


def _place(file: Path, *keys: str | int) -> str:
    return f"{file}, {' / '.join(map(str, keys))}" if keys else str(file)
