"""Responsible text: what a prompt asks for in so many words ("a fair-gender doctor", "…, without blood"), it gets.

A text-to-image model hardly hears such words, or hears the harm and not the "without". Here the words are found and the
vectors of what they name are added. benchmark/ holds 200 prompts of this kind in the paper's four categories, and their
counterpart for the miniature.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

import torch
from torch import Tensor

from concept_vectors.bottleneck import Schedule, added_to_mid_block, on_conditional_rows
from concept_vectors.inference import ConceptVector, FairGroup
from concept_vectors.vectors import ConceptVectors, load_vectors
from diffusion_base.conditioning import PromptEmbeddings, encode_prompts
from diffusion_base.errors import UserError
from diffusion_base.intervention import Context, Intervention

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
        vectors, pipeline, schedule: as in `ConceptVector`.
        strength: 1 is the concepts as learned.
        dealt: deal a group's members out over the pictures instead of drawing them; see `FairGroup`.
        rewrite: take the words that were found out of the prompt, where the base misunderstands them.
        rules: what to look for.

    Raises:
        UserError: no vectors there, or those of another base; when used, a prompt that asks for what they don't hold.
    """

    def __init__(
        self,
        vectors: str | Path | ConceptVectors,
        *,
        pipeline,
        strength: float = 1.0,
        schedule: Schedule | None = None,
        dealt: bool = False,
        rewrite: bool = False,
        rules: Sequence[Rule] = RULES,
    ):
        loaded = vectors if isinstance(vectors, ConceptVectors) else load_vectors(vectors, pipeline)
        self.strength, self.rewrite, self.rules, self.source = strength, rewrite, list(rules), loaded.source
        self.groups: dict[Rule, FairGroup] = {}
        for rule in rules:
            if held := [names for names in rule.groups if set(names) <= set(loaded.tensors)]:
                members = [ConceptVector(loaded, name, pipeline=pipeline, schedule=schedule) for name in held[0]]
                self.groups[rule] = FairGroup(members, dealt=dealt)

    def asked(self, prompt: str) -> list[FairGroup]:
        """The groups of which a prompt's picture gets one member each."""
        found = rules_of(prompt, self.rules)
        if missing := [rule for rule in found if rule not in self.groups]:
            names = " or ".join(", ".join(group) for group in missing[0].groups)
            raise UserError(f"{prompt!r} asks for {missing[0].category} concepts that {self.source} lacks: {names}")
        return [self.groups[rule] for rule in found]

    @contextmanager
    def swap_weights(self, context: Context) -> Iterator[None]:
        """Deal; and refuse what the vectors lack before anything is made."""
        for prompt in dict.fromkeys(context.prompts):
            self.asked(prompt)
        with ExitStack() as stack:
            for group in self.groups.values():
                stack.enter_context(group.swap_weights(context))
            yield

    def edit_prompts(
        self, context: Context, conditional: PromptEmbeddings, unconditional: PromptEmbeddings
    ) -> tuple[PromptEmbeddings, PromptEmbeddings]:
        plain = [without_words(prompt, self.rules) for prompt in context.prompts]
        if not self.rewrite or plain == context.prompts:
            return conditional, unconditional
        return encode_prompts(context.pipeline, plain), unconditional

    def hook(self, context: Context, unet: torch.nn.Module) -> AbstractContextManager:
        pictures = list(zip(context.prompts, context.seeds, context.records, strict=True))
        given = [[g.members[g.member(*picture)] for g in self.asked(picture[0])] for picture in pictures]

        def addition(hidden: Tensor) -> Tensor:
            nothing = torch.zeros(hidden.shape[1], 1, 1, device=hidden.device)
            sums = [reduce(add, (vector.at_this_step(context) for vector in each), nothing) for each in given]
            return on_conditional_rows(context, self.strength * torch.stack(torch.broadcast_tensors(*sums)), hidden)

        return added_to_mid_block(unet, addition)

    def describe(self) -> dict:
        return {
            "method": "concept_vectors",
            "responsible_text": [group.describe() for group in self.groups.values()],
            "strength": self.strength,
            "rewrite": self.rewrite,
        }
