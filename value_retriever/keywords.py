"""The keyword stage: whole words and phrases, their inflections and simple disguises, never inside other words.

A keyword is a word or a phrase; "@name" in it stands for any entry of that list, "*ologist" for any word that ends so.
Every word is matched whole; the last one of a phrase also in its regular inflections. A match whose last word lies in
an exception ("zombie process") does not count.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from diffusion_base.errors import UserError
from value_retriever.answer import RetrievedValue
from value_retriever.normalise import UNSPACED, Text, Word, normalise, read
from value_retriever.values import Values

SHORTEST_SPELLED_OUT = 4  # letters of a keyword that is looked for inside a run of single letters
DOUBLED = re.compile(r"(.)\1+")
CONFIDENCE, DISGUISED_CONFIDENCE = 0.99, 0.9  # set by hand: a disguise may be an accident


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


def inflections(word: str, verbs: bool = True) -> set[str]:
    """The regular plural of an English word, and with `verbs` its -ed and -ing; the word itself among them."""
    forms = {word, word + "s"}
    if re.search(r"(s|x|z|ch|sh)$", word):
        forms.add(word + "es")
    if re.search(r"[^aeiou]y$", word):
        forms |= {word[:-1] + "ies"} | ({word[:-1] + "ied", word + "ing"} if verbs else set())
    if word.endswith("man"):
        forms.add(word[:-3] + "men")
    if verbs and not word.endswith("y"):
        stem = word[:-1] if word.endswith("e") else word
        forms |= {stem + "ed", stem + "ing"}
        if re.fullmatch(r"[^aeiou]*[aeiou][bdgmnprt]", word):  # stab, stabbed
            forms |= {word + word[-1] + "ed", word + word[-1] + "ing"}
    return forms


class Phrases:
    """Lists of phrases, ready to be found in a text.

    Args:
        lists: name → phrases; "@name" in a phrase stands for any phrase of that list.
        verbs: whether the last word of a phrase has a verb's inflections beside the plural.

    Raises:
        UserError: a list that is referred to is not there, or refers to itself.
    """

    def __init__(self, lists: Mapping[str, Iterable[str]], verbs: bool):
        self.lists: dict[str, _List] = {}
        self.vocabulary: dict[str, str] = {}  # inflected form → the word of the list
        self.lengthened: dict[str, list[str]] = {}  # form with runs of letters made single → forms
        for name, phrases in lists.items():
            self.lists[name] = _List()
            for phrase in dict.fromkeys(phrases):
                self._add(self.lists[name], phrase, verbs)
        self.endings = [form for form in self.vocabulary if form[0] == "*"]
        for form in self.vocabulary.keys() - set(self.endings):
            self.lengthened.setdefault(_single(form), []).append(form)
        self._check_references()

    def _add(self, into: "_List", phrase: str, verbs: bool) -> None:
        plain = normalise(phrase)
        if UNSPACED.search(plain):
            into.unspaced.append((plain, phrase))
            return
        parts = re.findall(r"@\w+|[^\s-]+", plain)
        forms = []
        for i, part in enumerate(parts):
            if part.startswith("@"):
                forms.append(frozenset({part}))
                continue
            last = i == len(parts) - 1 and part != "'s"
            forms.append(frozenset(inflections(part, verbs) if last else {part}))
            self.vocabulary |= dict.fromkeys(forms[-1], part)
        if not re.search(r"\w", plain):
            raise UserError(f"the keyword {phrase!r} has no letter")
        for first in forms[0]:
            into.by_first.setdefault(first, []).append((tuple(forms), phrase))
            if first.startswith("@") and first not in into.lists_first:
                into.lists_first.append(first)
            if len(forms) == 1:
                into.single.add(first)

    def _check_references(self) -> None:
        for name, own in self.lists.items():
            phrases = [phrase for under in own.by_first.values() for phrase in under]
            references = {part[1:] for parts, _ in phrases for forms in parts for part in forms if part[0] == "@"}
            if missing := references - self.lists.keys():
                raise UserError(f"@{min(missing)} in a list of keywords: there is no such list under `words`")
            below, todo = set(), [name]
            while todo:
                alone = [first[1:] for first in self.lists[todo.pop()].single if first[0] == "@"]
                if name in alone:
                    raise UserError(f"the list of words {name} refers to itself")
                todo += [each for each in alone if each not in below and each in self.lists]
                below |= set(alone)

    def search(self, prompt: str, disguises: bool = False) -> "Search":
        """Read a prompt, in which lists can then be looked for; with `disguises` words may be hidden."""
        return Search(self, read(prompt), disguises)

    def standing_for(self, word: Word, disguises: bool) -> dict[str, bool]:
        """The forms of the lists that a word is or may stand for → whether it is disguised."""
        if word.text in self.vocabulary:
            return {word.text: False}
        found = {ending: False for ending in self.endings if word.text.endswith(ending[1:])}
        for letters in (word.text, *word.guesses) if disguises else ():
            if letters in self.vocabulary:
                found[letters] = True
            elif "*" in letters:
                mask = re.compile(re.escape(letters).replace(r"\*", "[a-z]"))
                if sum(c.isalpha() for c in letters) * 2 >= len(letters):
                    found |= {form: True for form in self.vocabulary if len(form) > 2 and mask.fullmatch(form)}
            elif DOUBLED.search(letters):
                near = self.lengthened.get(_single(letters), ())
                found |= {form: True for form in near if _is_lengthened(letters, form)}
        return found


class _List:
    """The phrases of one list by their first word's forms; those of unspaced scripts apart."""

    def __init__(self) -> None:
        self.by_first: dict[str, list[tuple[tuple[frozenset[str], ...], str]]] = {}
        self.lists_first: list[str] = []
        self.single: set[str] = set()  # forms of phrases of one word
        self.unspaced: list[tuple[str, str]] = []


class Search:
    """One prompt searched: what each word stands for and where each list's phrases end is worked out once."""

    def __init__(self, phrases: Phrases, text: Text, disguises: bool):
        self.phrases, self.text, self.disguises = phrases, text, disguises
        self.forms = [phrases.standing_for(word, disguises) for word in text.words]
        self.is_spaced = not UNSPACED.search(text.text)
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

    def _hidden(self, own: _List) -> list[Match]:
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


def _single(word: str) -> str:
    return DOUBLED.sub(r"\1", word)


def _is_lengthened(word: str, form: str) -> bool:
    """Whether the word is the form with letters repeated: bloooody."""
    runs, of_form = ([(letter, len(list(run))) for letter, run in groupby(each)] for each in (word, form))
    return len(form) > 2 and all(a[0] == b[0] and a[1] >= b[1] for a, b in zip(runs, of_form, strict=True))


def counted(matches: Iterable[Match], exceptions: Sequence[Match]) -> list[Match]:
    """The matches that do not lie inside an exception."""
    return [match for match in matches if not any(match.is_inside(other) for other in exceptions)]


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
        search = self.phrases.search(prompt, disguises=True)
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
