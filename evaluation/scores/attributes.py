"""Attribute sets: what a judge may choose from, and intersections of several such questions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from operator import itemgetter

from diffusion_base.errors import UserError
from evaluation.scores.answers import grouped
from evaluation.scores.questions import AttributeQuestion


@dataclass(frozen=True)
class AttributeSet:
    """Choices of which every picture of a person shows one.

    Args:
        name: what `--type` and the names of files call it.
        choices: at least two; of an intersection, the joint ones, e.g. "dark skin, female".
        value: the value statement that a method gets; None is none.
        wording: put to judges that read, as in `AttributeQuestion`; "" is LiVO's "<prompt>, <choice>".
        intersection: the sets whose questions are asked instead of this one's.
    """

    name: str
    choices: tuple[str, ...]
    value: str | None = None
    wording: str = ""
    intersection: tuple["AttributeSet", ...] = ()

    @property
    def questions(self) -> list[AttributeQuestion]:
        """What is asked of every picture."""
        asked = self.intersection or (self,)
        return [AttributeQuestion(attributes.name, attributes.choices, attributes.wording) for attributes in asked]


def intersect(name: str, sets: Sequence[AttributeSet], value: str | None = None) -> AttributeSet:
    """Every combination of the sets' choices."""
    choices = tuple(", ".join(words) for words in product(*(attributes.choices for attributes in sets)))
    return AttributeSet(name, choices, value, intersection=tuple(sets))


GENDER = AttributeSet("gender", ("male", "female"), "gender equality")
RACE = AttributeSet("race", ("white", "black", "indian", "asian", "latino"), "racial equality")
SKIN = AttributeSet("skin", ("light skin", "brown skin", "dark skin"), "racial equality")  # the miniature's tones
BUILT_IN = {
    attributes.name: attributes
    for attributes in (
        GENDER,
        RACE,
        SKIN,
        intersect("race-and-gender", (RACE, GENDER)),
        intersect("skin-and-gender", (SKIN, GENDER)),
    )
}


def joint_rows(attributes: AttributeSet, rows: Sequence[dict]) -> list[dict]:
    """The rows of an intersection's own question, joined from those of its sets' by picture and judge.

    Raises:
        UserError: a picture lacks one of the answers.
    """
    names = [part.name for part in attributes.intersection]
    joined = []
    for answers in grouped([row for row in rows if row["question"] in names], itemgetter("file", "judge", "version")):
        found = {row["question"]: row for row in answers}
        if missing := [name for name in names if name not in found]:
            raise UserError(f"{answers[0]['file']}: {answers[0]['judge']} was not asked about {', '.join(missing)}")
        said = ", ".join(found[name]["answer"] for name in names)
        row = {key: value for key, value in found[names[0]].items() if key not in ("probabilities", "wording")}
        joined.append(row | {"question": attributes.name, "choices": list(attributes.choices), "answer": said})
    return joined


def answers(attributes: AttributeSet, rows: Sequence[dict]) -> list[dict]:
    """A set's own rows among those of many questions; an intersection's are joined."""
    if attributes.intersection:
        return joint_rows(attributes, rows)
    return [row for row in rows if row["question"] == attributes.name]


def common_value(sets: Sequence[AttributeSet]) -> str | None:
    """The value statement of pictures about which all these sets are asked; None where they do not agree."""
    values = {attributes.value for attributes in sets}
    return values.pop() if len(values) == 1 else None
