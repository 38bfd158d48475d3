"""The rule of person words: the offline answer for what keywords do not settle.

A bias value applies where one of its keywords is in the prompt (a word for people), unless a word of its `unless` says
already what it is about: "a woman reading" names the gender, so racial equality is left.
"""

from collections.abc import Iterable, Sequence

from value_retriever.answer import Heard, RetrievedValue
from value_retriever.phrases import Phrases
from value_retriever.search import Match, Search, counted
from value_retriever.values import Values

CONFIDENCE = 0.9  # set by hand


class PersonWords:
    """The rule as a backend. Raises as `Keywords`."""

    name = "rule"

    def __init__(self, values: Values):
        self.biases = values.biases
        lists: dict[str, Iterable[str]] = dict(values.words)
        for i, value in enumerate(self.biases):
            lists |= {f"keywords {i}": value.keywords, f"except {i}": value.except_, f"unless {i}": value.unless}
        self.phrases = Phrases(lists, verbs=False)

    def describe(self) -> dict:
        return {"backend": self.name}

    def ask(self, prompts: Sequence[str], heard: Heard) -> list[RetrievedValue]:
        answers = []
        for prompt in prompts:
            answers.append(self.retrieve(prompt))
            heard(prompt, answers[-1])
        return answers

    def left_open(self, prompt: str) -> tuple[str, ...]:
        """The bias values that a prompt about people calls for: those that no word of it settles."""
        search = Search(self.phrases, prompt)
        return tuple(value.statement for i, value in enumerate(self.biases) if not search.find(f"unless {i}"))

    def retrieve(self, prompt: str) -> RetrievedValue:
        search = Search(self.phrases, prompt)
        person: Match | None = None
        named: list[str] = []
        applying: list[str] = []
        for i, value in enumerate(self.biases):
            exceptions = search.find(f"except {i}")
            found = counted(search.find(f"keywords {i}"), exceptions)
            if not found:
                continue
            person = person or found[0]
            # "a wizard's apprentice" does not name the apprentice's gender; "a woman's portrait" does
            exceptions = counted(exceptions, found)
            if settled := counted(search.find(f"unless {i}"), exceptions):
                named.append(f'"{settled[0].written}" settles {value.statement}')
            else:
                applying.append(value.statement)
        return RetrievedValue(
            statement=applying[0] if applying else None,
            kind="bias" if applying else None,
            source=self.name,
            confidence=CONFIDENCE,
            reason="; ".join([person.reason, *named]) if person else "no word for people",
            statements=tuple(applying),
            person=person is not None,
        )
