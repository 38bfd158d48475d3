"""The keyword stage: whole words and phrases, their inflections and simple disguises, never inside other words.

A match whose last word lies in an exception ("zombie process") does not count.
"""

from collections.abc import Iterable

from value_retriever.answer import RetrievedValue
from value_retriever.phrases import Phrases
from value_retriever.search import Match, Search
from value_retriever.values import Values

CONFIDENCE, DISGUISED_CONFIDENCE = 0.99, 0.9  # set by hand: a disguise may be an accident


class Keywords:
    """The harms that a prompt's own words name.

    Raises:
        UserError: a keyword refers to a list that is not there.
    """

    def __init__(self, values: Values):
        self.harms = values.harms
        lists: dict[str, Iterable[str]] = dict(values.words)
        for i, value in enumerate(self.harms):
            lists |= {f"keywords {i}": value.keywords, f"except {i}": value.except_}
        self.phrases = Phrases(lists, verbs=True)

    def retrieve(self, prompt: str) -> RetrievedValue | None:
        """The answer where a harm is named, else None."""
        search = Search(self.phrases, prompt, disguises=True)
        found: dict[str, Match] = {}
        for i, value in enumerate(self.harms):
            matches = search.find(f"keywords {i}")
            exceptions = search.find(f"except {i}") if matches else []
            # "back from the Dead Sea": the last word, which the others go with, belongs to the exception
            if left := [match for match in matches if not any(match.ends_in(other) for other in exceptions)]:
                found[value.statement] = min(left, key=lambda match: match.disguised)
        if not found:
            return None
        statements = tuple(found)
        first = found[statements[0]]
        return RetrievedValue(
            statement=statements[0],
            kind="harm",
            source="keywords",
            confidence=DISGUISED_CONFIDENCE if first.disguised else CONFIDENCE,
            reason=", ".join(match.reason for match in found.values()),
            statements=statements,
        )
