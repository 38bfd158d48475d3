"""A prompt as words, and what disguised words may stand for: n4ked, b-l-o-o-d-y, zero-width and look-alike letters."""

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise, product

# letters of other scripts that look like Latin ones
LOOK_ALIKES = str.maketrans(
    "аеорсхуіїјѕԁһԛԝкмтвнгьѵүαβεικνορτυχγɑɡıɩʟɴʀօսոհցɪᴇᴏᴀᴅᴋᴜᴛᴢꜱʏʙɢøłđƀɓɗƙɨʜᴍᴘ",
    "aeopcxyiijsdhqwkmtbhrbvyabeikvoptuxyagiilnrounhgieoadkutzsybgoldbbdkihmp",
)
# white letters in black circles and squares, and the letters of flags, which NFKC leaves
ENCLOSED = {first + i: ord("a") + i for first in (0x1F150, 0x1F170, 0x1F1E6) for i in range(26)}
# digits and signs for letters; 1 and ! may be i or l
STANDS_FOR = {
    **{"0": "o", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g", "6": "g", "2": "z"},
    **{"@": "a", "$": "s", "€": "e", "1": "il", "!": "il"},
}
# the possessive stands alone; signs belong to a word only inside it, or (@ $ €) in front of letters
SIGNS = "\u064b-\u0652\u0670\u0900-\u0dff"  # Arabic and Indian vowel signs, which are no letters to `re`
WORD = re.compile(rf"'s(?![^\W_])|(?:[@$€](?=[^\W\d_]))?[^\W_](?:[^\W_]|[{SIGNS}]|[@$€!*]+(?=[^\W_]))*")
SPELLED_OUT = re.compile(r"(?<![^\W_])[^\W_](?:[^\w\n]{1,3}[^\W_]|_[^\W_]){3,}(?![^\W_])")
ONE_SIGN = re.compile(r"[^\w\s,;:/|()\[\]{}<>]|_")
# Chinese, Japanese, Korean and Thai writing, and symbols: no spaces tell where words begin
UNSPACED = re.compile(
    r"[\u0e00-\u0e7f\u3005-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]|[\u2600-\u27bf\U0001f000-\U0001faff]"
)
MADE_PLAIN = {0x2018: "'", 0x2019: "'", 0x02BC: "'", 0xFE0F: None, **ENCLOSED}
INVISIBLE = {"Cf", "Cc", "Co", "Cn"}


@dataclass(frozen=True)
class Word:
    """A word of a prompt: its place in the normalised text, as written there, and what it may stand for."""

    start: int
    end: int
    text: str
    guesses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """A prompt, normalised.

    Attributes:
        text: lower case, without accents and invisible characters.
        words: in their order.
        joined: runs of words with one sign or letter between, as one: b-l-o-o-d-y, na-ked.
        spelled_out: those of single letters, with nothing but letters in `text`.
    """

    text: str
    words: tuple[Word, ...]
    joined: tuple[Word, ...]
    spelled_out: tuple[Word, ...]


def normalise(text: str) -> str:
    """Lower case, compatible characters unified, accents of letters and invisible characters removed."""
    text = unicodedata.normalize("NFKC", text).translate(MADE_PLAIN)
    text = "".join(c if c.isspace() else "" if unicodedata.category(c) in INVISIBLE else c for c in text)
    if not text.isascii():
        decomposed = unicodedata.normalize("NFD", text.casefold())
        text = unicodedata.normalize("NFC", re.sub("[\u0300-\u036f]", "", decomposed))
    return text.casefold()


def read(prompt: str) -> Text:
    """The words of a prompt, with what disguised ones may stand for."""
    text = normalise(prompt)
    text = re.sub(r"(?<=s)'(?=\s)", "'s", text)  # the doctors' office
    words = tuple(Word(m.start(), m.end(), m[0], guesses(m[0])) for m in WORD.finditer(text))
    spelled = []
    for m in SPELLED_OUT.finditer(text):
        letters = re.sub(r"[\W_]+", "", m[0])
        spelled.append(Word(m.start(), m.end(), letters, guesses(letters)))
    return Text(text, words, tuple(_joined(text, words)), tuple(spelled))


def guesses(word: str) -> tuple[str, ...]:
    """What a word with look-alike letters, digits or signs may stand for, itself left out."""
    latin = word.translate(LOOK_ALIKES)
    found = {latin}
    if any(c in STANDS_FOR for c in latin) and any(c.isalpha() for c in latin):
        places = [STANDS_FOR.get(c, c) for c in latin]
        if sum(len(place) > 1 for place in places) <= 4:
            found |= {"".join(letters) for letters in product(*places)}
    return tuple(sorted(found - {word}))


def _joined(text: str, words: tuple[Word, ...]) -> list[Word]:
    """Chains of words with a single sign between: the whole chain, and each pair in it."""
    chains: list[list[Word]] = []
    for left, right in pairwise(words):
        if right.text == "'s" or not ONE_SIGN.fullmatch(text, left.end, right.start):
            continue
        if chains and chains[-1][-1] is left:
            chains[-1].append(right)
        else:
            chains.append([left, right])
    pairs = [list(pair) for chain in chains if len(chain) > 2 for pair in pairwise(chain)]
    together = [(chain[0].start, chain[-1].end, "".join(word.text for word in chain)) for chain in [*chains, *pairs]]
    return [Word(start, end, letters, guesses(letters)) for start, end, letters in together]
