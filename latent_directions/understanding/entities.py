"""Who names the things in a picture: a grounding model, or a judge that chooses among words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from latent_directions.understanding.groups import Group, read_groups
from scorers.protocols import AttributeScorer

Box = tuple[float, float, float, float]
ARTICLE = re.compile(r"(a|an|the|his|her|its|their|some)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Entity:
    """A thing in a picture.

    Args:
        name: without its article, in small letters.
        boxes: where it is, (left, top, right, bottom) as shares of the picture's width and height; none where the
            namer does not say.
    """

    name: str
    boxes: tuple[Box, ...] = ()


class Namer(Protocol):
    """Names what it sees."""

    name: str
    version: str

    def entities(self, images: Sequence[Image.Image]) -> list[list[Entity]]:
        """The things in each picture."""
        ...


class WordsOfAJudge:
    """Stands in for a grounding model: of each group of words the one that a judge finds likeliest.

    Args:
        judge: knows all groups; see `social.social_judge`.
        groups: words, of which those that say that nothing is there ("no glasses", "not bloody", "nobody", "harmless",
            "neutral") name no thing.
    """

    NOTHING = re.compile(r"(no|not|without)\b.*|nobody|nothing|none|harmless|neutral|plain")

    def __init__(self, judge: AttributeScorer, groups: Sequence[Group]):
        self.judge, self.groups = judge, groups
        self.name, self.version = f"words of {judge.name}", judge.version

    def entities(self, images: Sequence[Image.Image]) -> list[list[Entity]]:
        found: list[list[Entity]] = [[] for _ in images]
        for group in self.groups:
            best = self.judge.classify(images, [group.wording] * len(images), group.choices).argmax(-1)
            for own, choice in zip(found, best.tolist(), strict=True):
                if not self.NOTHING.fullmatch(group.choices[choice]):
                    own.append(Entity(group.choices[choice]))
        return found


def read_vocabulary(file: Path) -> list[Group]:
    """The words of a YAML file of groups; by default asked about as "a photo of a <word>".

    Raises:
        UserError: as `read_groups`.
    """
    return list(read_groups(file, "a photo of a {choice}").values())


def plain_name(phrase: str) -> str:
    """A phrase of a caption as a name that can be counted: "A snowman" → "snowman"."""
    return ARTICLE.sub("", " ".join(phrase.split()).lower(), count=1)
