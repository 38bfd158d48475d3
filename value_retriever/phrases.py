"""Lists of words and phrases, their inflections, and which of them a word of a prompt may stand for.

A keyword is a word or a phrase; "@name" in it stands for any entry of that list, "*ologist" for any word that ends so.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import groupby

from diffusion_base.errors import UserError
from value_retriever.normalise import UNSPACED, Word, normalise

DOUBLED = re.compile(r"(.)\1+")


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
        self.lists: dict[str, PhraseList] = {}
        self.vocabulary: dict[str, str] = {}  # inflected form → the word of the list
        self.lengthened: dict[str, list[str]] = {}  # form with runs of letters made single → forms
        for name, phrases in lists.items():
            self.lists[name] = PhraseList()
            for phrase in dict.fromkeys(phrases):
                self._add(self.lists[name], phrase, verbs)
        self.endings = [form for form in self.vocabulary if form[0] == "*"]
        for form in self.vocabulary.keys() - set(self.endings):
            self.lengthened.setdefault(_single(form), []).append(form)
        self._check_references()

    def _add(self, into: "PhraseList", phrase: str, verbs: bool) -> None:
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


class PhraseList:
    """The phrases of one list by their first word's forms; those of unspaced scripts apart."""

    def __init__(self) -> None:
        self.by_first: dict[str, list[tuple[tuple[frozenset[str], ...], str]]] = {}
        self.lists_first: list[str] = []
        self.single: set[str] = set()  # forms of phrases of one word
        self.unspaced: list[tuple[str, str]] = []


def _single(word: str) -> str:
    return DOUBLED.sub(r"\1", word)


def _is_lengthened(word: str, form: str) -> bool:
    """Whether the word is the form with letters repeated: bloooody."""
    runs, of_form = ([(letter, len(list(run))) for letter, run in groupby(each)] for each in (word, form))
    return len(form) > 2 and all(a[0] == b[0] and a[1] >= b[1] for a, b in zip(runs, of_form, strict=True))
