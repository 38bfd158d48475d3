"""Responsible text: what a prompt asks for in so many words ("a fair-gender doctor", "…, without blood"), it gets.

A text-to-image model hardly hears such words, or hears the harm and not the "without". Here the words are found and the
vectors of what they name are added. benchmark/ holds 200 prompts of this kind in the paper's four categories, and their
counterpart for the miniature.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from pathlib import Path

import torch
from torch import Tensor

from concept_vectors.bottleneck import Schedule, added_to_mid_block, on_conditional_rows
from concept_vectors.inference import ConceptVector, FairGroup
from concept_vectors.vectors import ConceptVectors, load_vectors
from diffusion_base.errors import UserError
from diffusion_base.intervention import Context, Intervention, check_strengths
from diffusion_base.pipeline import Pipeline

FAIR = "(?:fair|neutral|balanced|inclusive|unbiased)"
ANY = "(?:of (?:any|either|all)|regardless of|whatever (?:the|their|his or her))"
NO = "(?:but )?(?:with )?(?:no|without|free of|not(?: an?)?)(?: any)?(?: visible)?"
SEXUAL = "nudity|nude|naked|sexual(?: content)?"
UNDEAD = "zombies?|undead"
VIOLENT = "violence|violent|blood|bloody|bloodshed|gore|gory|injury|injuries|wounds"
HARM = f"(?:{SEXUAL}|{UNDEAD}|{VIOLENT})"
# between harms: "or", and the comma of "blood, gore or violence"
OR = f"(?:,? (?:or|and|nor) (?:any )?|, (?=(?:{HARM}, )*{HARM},? (?:or|and|nor) ))"


def ruled_out(words: str) -> str:
    """A regular expression for "without blood", or for "no nudity, blood or gore", where one of the words is listed."""
    return f"{NO} (?:{HARM}{OR})*(?:{words})(?:{OR}{HARM})*"


@dataclass(frozen=True)
class Rule:
    """Words, and whose vectors they call for.

    Attributes:
        category: of the benchmark.
        words: a regular expression.
        groups: concepts of which each picture gets one; the first group counts that the vectors hold.
    """

    category: str
    words: str
    groups: tuple[tuple[str, ...], ...]


EITHER = "(?:a )?(?:male|man) or (?:a )?(?:female|woman)|(?:a )?(?:female|woman) or (?:a )?(?:male|man)"
RACE = "(?:race|ethnicity|skin (?:colou?r|tone))"
RULES = (
    Rule(
        "gender",
        f"{FAIR}[- ]gender|gender[- ]{FAIR}|{ANY} gender|either (?:{EITHER})",
        (("man", "woman"), ("male", "female")),
    ),
    Rule(
        "race",
        f"(?!fair[- ]skin){FAIR}[- ]{RACE}|{RACE}[- ]{FAIR}|{ANY} {RACE}",  # fair skin is light skin
        (("light", "brown", "dark"), ("whiterace", "blackrace", "asianrace")),
    ),
    Rule(
        "sexual",
        f"{ruled_out(SEXUAL)}|non-?sexual|fully (?:clothed|dressed)",
        (("anti_sexual",), ("antisexual",), ("anti_nudity",)),
    ),
    Rule("violent", ruled_out(UNDEAD), (("anti_zombie",), ("anti_violent",), ("antiviolent",))),
    Rule(
        "violent",
        f"{ruled_out(VIOLENT)}|non-?(?:violent|bloody)|bloodless|(?:blood|gore)-free",
        (("anti_violent",), ("antiviolent",), ("anti_bloody",)),
    ),
)


def rules_of(prompt: str, rules: Iterable[Rule] = RULES) -> list[Rule]:
    """The rules whose words are in a prompt."""
    return [rule for rule in rules if re.search(rf"\b(?:{rule.words})\b", prompt, re.IGNORECASE)]


def without_words(prompt: str, rules: Sequence[Rule] = RULES) -> str:
    """The prompt without the words that rules found in it: "a doctor" of "a fair-gender doctor, fully clothed"."""

    def article(found: re.Match) -> str:  # it stands before another word now
        n = "n" if found["next"].lower() in "aeiou" else ""
        return f"{found['a']}{n} {found['next']}"

    if found := rules_of(prompt, rules):
        one = f"(?:{'|'.join(rule.words for rule in found)})"
        words = rf"\b{one}(?:(?:,? and |, ?){one})*\b"
        prompt = re.sub(rf"\b(?P<a>a)n? {words} (?P<next>\w)", article, prompt, flags=re.IGNORECASE)
        prompt = re.sub(rf"[,;]? ?{words}", "", prompt, flags=re.IGNORECASE)
    return re.sub(r"\s+", " ", prompt).strip(" ,;")


class ResponsibleText(Intervention):
    """Add the vectors of what each picture's prompt asks for; pictures that ask for nothing stay the base's.

    Args:
        vectors, pipeline, schedule, other_base: as in `ConceptVector`.
        strength: 1 is the concepts as learned.
        dealt: deal a group's members out over the pictures instead of drawing them; see `FairGroup`.
        rewrite: take the words that were found out of the prompt, where the base misunderstands them. They go before it
            is encoded, so that a value token stays in front of it, whichever comes first in the list; the token is
            that of the prompt as it was asked for.
        rules: what to look for.

    Raises:
        UserError: no vectors there, or those of another base; a strength beyond ±100; when used, a prompt that asks
            for what they don't hold.
    """

    def __init__(
        self,
        vectors: str | Path | ConceptVectors,
        *,
        pipeline: Pipeline,
        strength: float = 1.0,
        schedule: Schedule | None = None,
        dealt: bool = False,
        rewrite: bool = False,
        rules: Sequence[Rule] = RULES,
        other_base: bool = False,
    ):
        check_strengths(strength=strength)
        if not isinstance(vectors, ConceptVectors):
            vectors = load_vectors(vectors, pipeline, other_base=other_base)
        self.strength, self.rewrite, self.rules, self.source = strength, rewrite, list(rules), vectors.source
        self.groups: dict[Rule, FairGroup] = {}
        for rule in rules:
            if held := [names for names in rule.groups if set(names) <= set(vectors.tensors)]:
                members = [ConceptVector(vectors, name, pipeline=pipeline, schedule=schedule) for name in held[0]]
                self.groups[rule] = FairGroup(members, dealt=dealt)

    def asked(self, prompt: str) -> list[FairGroup]:
        """The groups of which a prompt's picture gets one member each."""
        found = rules_of(prompt, self.rules)
        if missing := [rule for rule in found if rule not in self.groups]:
            names = " or ".join(", ".join(group) for group in missing[0].groups)
            raise UserError(f"{prompt!r} asks for {missing[0].category} concepts that {self.source} lacks: {names}")
        return [self.groups[rule] for rule in found]

    def begin(self, context: Context) -> None:
        for prompt in dict.fromkeys(context.prompts):
            self.asked(prompt)  # what the vectors lack is refused here
        for group in self.groups.values():
            group.begin(context)

    def edit_text(self, context: Context, prompts: list[str]) -> list[str]:
        return [without_words(prompt, self.rules) for prompt in prompts] if self.rewrite else prompts

    def hook(self, context: Context, denoiser: torch.nn.Module) -> AbstractContextManager:
        pictures = list(zip(context.prompts, context.seeds, context.records, strict=True))
        given = [[g.members[g.drawing.member(*picture)] for g in self.asked(picture[0])] for picture in pictures]

        def addition(hidden: Tensor) -> Tensor:
            nothing = torch.zeros(hidden.shape[1], 1, 1, device=hidden.device)
            sums = [reduce(add, (vector.at_this_step(context) for vector in each), nothing) for each in given]
            return on_conditional_rows(context, self.strength * torch.stack(torch.broadcast_tensors(*sums)), hidden)

        return added_to_mid_block(denoiser, addition)

    def describe(self) -> dict:
        return {
            "method": "concept_vectors",
            "responsible_text": [group.describe() for group in self.groups.values()],
            "strength": self.strength,
            "rewrite": self.rewrite,
            **({} if self.rules == list(RULES) else {"rules": [asdict(rule) for rule in self.rules]}),
        }
