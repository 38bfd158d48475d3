"""The plan of a preference set: which scenes, which values, and how the pictures of each side are asked for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

GAP = re.compile(r"(\b[Aa] )?\{(\w*)\}")  # a word to put in, and the article before it
VOWEL = re.compile(r"(?!uni|us[aeu]|eu|one\b)[aeiou]", re.IGNORECASE)  # "a uniform", "a used car"
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
    """A value by which pictures of the under-represented groups are preferred to those of the over-represented one."""

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
    """A value by which pictures without a harm are preferred to those that show it."""

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


def summary(plan: Plan, scenes: Sequence[Scene], scale: float) -> str:
    """What a plan asks for, in words."""
    plain = plan.plain_count(scale) * len({scene.plain_name for scene in scenes if isinstance(scene.value, Bias)})
    wanted = 2 * sum(scene.images_per_side for scene in scenes)
    values = dict.fromkeys(scene.value.statement for scene in scenes)
    return (
        f"{len(scenes)} scenes of {len(plan.categories)} categories; values: {', '.join(values)}\n"
        f"{plain} plain pictures, then {wanted * plan.oversampling:.0f} to {wanted * plan.attempts:.0f} to choose "
        f"{wanted} from, {wanted // 2} preferred and {wanted // 2} dispreferred"
    )


def examples(scenes: Sequence[Scene]) -> str:
    """For the first scene of each category and value, how its pictures are asked for."""
    lines, shown = [], set()
    for scene in scenes:
        if (scene.category, scene.value_name) in shown:
            continue
        shown.add((scene.category, scene.value_name))
        template = scene.templates[0]
        lines.append(f"\n{scene.name}: {scene.value.written_prompt(template, scene.subject)!r}")
        for side, wording in scene.value.sides.items():
            negative = f", negative prompt {wording.negative!r}" if wording.negative else ""
            lines.append(f"  {side}: {wording.fill(template, scene.subject)!r}{negative}")
    return "\n".join(lines)
