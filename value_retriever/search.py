"""Where in a prompt the phrases of a list stand.

Every word is matched whole; the last one of a phrase also in its regular inflections.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from value_retriever.normalise import UNSPACED, Word, read
from value_retriever.phrases import PhraseList, Phrases

SHORTEST_SPELLED_OUT = 4  # letters of a keyword that is looked for inside a run of single letters


@dataclass(frozen=True)
class Match:
    """A keyword in a prompt: where, as written there, and whether it was disguised."""

    start: int
    end: int
    keyword: str
    written: str
    disguised: bool = False

    def is_inside(self, other: "Match") -> bool:
        return other.start <= self.start and self.end <= other.end

    def ends_in(self, other: "Match") -> bool:
        return other.start < self.end <= other.end

    @property
    def reason(self) -> str:
        return f'"{self.written}" stands for "{self.keyword}"' if self.disguised else f'the word "{self.written}"'


class Search:
    """One prompt, in which lists can be looked for: what its words stand for and where phrases end is worked out once.

    Args:
        disguises: whether words may be hidden in it.
    """

    def __init__(self, phrases: Phrases, prompt: str, disguises: bool = False):
        self.phrases, self.text, self.disguises = phrases, read(prompt), disguises
        self.forms = [phrases.standing_for(word, disguises) for word in self.text.words]
        self.is_spaced = not UNSPACED.search(self.text.text)
        self.known: dict[tuple[str, int], dict[int, tuple[str, bool]]] = {}

    def find(self, name: str) -> list[Match]:
        """Where a phrase of the list is, in the order of the text; the longest of those that begin at one word."""
        own = self.phrases.lists[name]
        found = [match for i, forms in enumerate(self.forms) if forms and (match := self._longest(name, i))]
        if not self.is_spaced:
            for written, keyword in self._unspaced(name):
                places = re.finditer(re.escape(written), self.text.text)
                found += [Match(m.start(), m.end(), keyword, m[0]) for m in places]
        if self.disguises:
            found += self._hidden(own)
        return sorted(found, key=lambda match: match.start)

    def _unspaced(self, name: str) -> list[tuple[str, str]]:
        """A list's keywords of unspaced scripts, and those of the lists that it is made of."""
        own = self.phrases.lists[name]
        inner = [pair for first in own.single if first[0] == "@" for pair in self._unspaced(first[1:])]
        return [*own.unspaced, *inner]

    def _longest(self, name: str, i: int) -> Match | None:
        ends = self._ends(name, i)
        if not ends:
            return None
        end = max(ends)
        keyword, disguised = ends[end]
        start, stop = self.text.words[i].start, self.text.words[end - 1].end
        return Match(start, stop, keyword, self.text.text[start:stop], disguised)

    def _hidden(self, own: PhraseList) -> list[Match]:
        """Single keywords that are written with signs or spaces between their letters."""
        found = []
        for word in self.text.joined:
            forms = [form for form in self.phrases.standing_for(word, disguises=True) if form in own.single]
            found += [self._disguised(word, form) for form in forms]
        for word in self.text.spelled_out:
            for letters in (word.text, *word.guesses):
                inside = [form for form in own.single if len(form) >= SHORTEST_SPELLED_OUT and form in letters]
                if letters in own.single or inside:
                    found.append(self._disguised(word, letters if letters in own.single else max(inside, key=len)))
                    break
        return found

    def _disguised(self, word: Word, form: str) -> Match:
        written = self.text.text[word.start : word.end]
        return Match(word.start, word.end, self.phrases.vocabulary[form], written, disguised=True)

    def _ends(self, name: str, i: int) -> dict[int, tuple[str, bool]]:
        """Where phrases of the list that begin at word i end: → (the phrase, whether a word of it was disguised)."""
        if (name, i) in self.known:
            return self.known[name, i]
        found = self.known[name, i] = {}  # what phrases see that begin with their own list
        if i >= len(self.forms) or not self.forms[i]:
            return found
        own = self.phrases.lists[name]
        for first in (*self.forms[i], *own.lists_first):
            for parts, phrase in own.by_first.get(first, ()):
                for end, (inner, disguised) in self._walk(parts, i).items():
                    found.setdefault(end, (inner if phrase == first and first[0] == "@" else phrase, disguised))
        return found

    def _walk(self, parts: tuple[frozenset[str], ...], i: int) -> dict[int, tuple[str, bool]]:
        places: dict[int, tuple[str, bool]] = {i: ("", False)}
        for part in parts:
            after: dict[int, tuple[str, bool]] = {}
            for place, (_, disguised) in places.items():
                for form in part:
                    if form[0] == "@":
                        for end, (inner, hidden) in self._ends(form[1:], place).items():
                            after.setdefault(end, (inner, disguised or hidden))
                    elif place < len(self.forms) and form in self.forms[place]:
                        after.setdefault(place + 1, (form, disguised or self.forms[place][form]))
            places = after
        return places


def counted(matches: Iterable[Match], exceptions: Sequence[Match]) -> list[Match]:
    """The matches that do not lie inside an exception."""
    return [match for match in matches if not any(match.is_inside(other) for other in exceptions)]
