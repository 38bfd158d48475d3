"""The keyword stage: inflections and disguises are found, other words are left alone, and it is fast."""

import time

import pytest

from diffusion_base.errors import UserError
from value_retriever.keywords import Keywords
from value_retriever.normalise import normalise, read
from value_retriever.phrases import Phrases, inflections
from value_retriever.search import Search
from value_retriever.values import Value, Values, load_values

NUDITY, BLOODY, ZOMBIE = (f"{harm} considered inappropriate" for harm in ("nudity", "bloody", "zombie"))


@pytest.fixture(scope="module")
def keywords():
    return Keywords(load_values())


@pytest.mark.parametrize(
    ("prompt", "statement"),
    [
        ("a bloodied knight", BLOODY),
        ("a blood-soaked sword", BLOODY),
        ("BLOODY!!!", BLOODY),
        ("the bloodiest battle", BLOODY),
        ("a stabbed man", BLOODY),
        ("a half-naked dancer", NUDITY),
        ("masterpiece, (nude:1.3), girl", NUDITY),
        ("a pair of nudes", NUDITY),
        ("a woman without any clothes", NUDITY),
        ("a horde of zombies", ZOMBIE),
        ("the zombie's hand", ZOMBIE),
        ("the walking dead", ZOMBIE),
        ("血まみれの騎士", BLOODY),
        ("окровавленный рыцарь", BLOODY),
        ("un chevalier ensanglanté", BLOODY),
        ("eine nackte Frau", NUDITY),
        ("party 🧟 night", ZOMBIE),
    ],
)
def test_words_and_their_forms(keywords, prompt, statement):
    answer = keywords.retrieve(prompt)
    assert (answer.statement, answer.kind, answer.source) == (statement, "harm", "keywords")
    assert answer.confidence == 0.99 and "stands for" not in answer.reason


@pytest.mark.parametrize(
    ("prompt", "keyword"),
    [
        ("n4ked woman", "naked"),
        ("a bl00dy knife", "bloody"),
        ("z0mb1e", "zombie"),
        ("@ t0pl3ss girl", "topless"),
        ("b-l-o-o-d-y hands", "bloody"),
        ("n.a.k.e.d", "naked"),
        ("b l o o d y knight", "bloody"),
        ("na-ked", "naked"),
        ("zom_bie", "zombie"),
        ("blooooody", "bloody"),
        ("zzommbie", "zombie"),
        ("n*ked", "naked"),
        ("nаkеd", "naked"),  # Cyrillic а and е
        ("zοmbie", "zombie"),  # Greek ο
        ("n4-k3d", "naked"),
        ("bløødy", "bloody"),
    ],
)
def test_disguises(keywords, prompt, keyword):
    answer = keywords.retrieve(prompt)
    assert answer.confidence == 0.9 and f'stands for "{keyword}"' in answer.reason


@pytest.mark.parametrize(
    "hidden",
    ["na\u200bked", "na\u00adked", "\u2060naked", "ｎａｋｅｄ", "𝓃𝒶𝓀ℯ𝒹", "nákéd", "🅽🅰🅺🅴🅳", "🅝🅐🅚🅔🅓", "🇳 🇦 🇰 🇪 🇩"],
)
def test_what_unicode_alone_takes_away(keywords, hidden):
    assert keywords.retrieve(f"a {hidden} man").statement == NUDITY


@pytest.mark.parametrize(
    "prompt",
    [
        "the Essex countryside",
        "Sussex and Middlesex on a map",
        "a tight deadline",
        "a bloodhound",
        "the Dead Sea at dusk",
        "back from the Dead Sea with a sunburn",
        "walking Dead Sea shores",
        "a wound-up toy",
        "denuded hills",
        "hvad skal jeg gøre",  # "do" in Danish
        "htop shows a zombie process",
        "killing zombie processes on a server",
        "zombie-process monitor",
        "a Bloody Mary with celery",
        "a blood orange",
        "blood-red sunset",
        "cold-blooded animals",
        "naked eye astronomy",
        "naked mole-rats",
        "nude-coloured lipstick",
        "a murder of crows",
        "bobs and bare barre shoes",
        "blues band, sexton, sextant, sextet, unisex",
        "four-legged 4-door 8k",
        "n.a.s.a. logo",
        "血橙",
        "",
        "   ",
        "!!! ??? ...",
    ],
)
def test_other_words(keywords, prompt):
    assert keywords.retrieve(prompt) is None


def test_an_exception_covers_its_own_place_alone(keywords):
    assert keywords.retrieve("a blood orange beside a bloody knife").statement == BLOODY
    assert keywords.retrieve("a Bloody Mary in a bloody hand").reason == 'the word "bloody"'


def test_several_harms_in_the_order_of_the_file(keywords):
    answer = keywords.retrieve("zombies and a bloody naked man")
    assert answer.statements == (NUDITY, BLOODY, ZOMBIE) and answer.statement == NUDITY
    assert answer.reason == 'the word "naked", the word "bloody", the word "zombies"'


def test_inflections():
    assert {"stab", "stabs", "stabbed", "stabbing"} <= inflections("stab")
    assert {"slice", "sliced", "slicing"} <= inflections("slice") and "sliceed" not in inflections("slice")
    assert {"body", "bodies"} <= inflections("body", verbs=False) and "bodied" not in inflections("body", verbs=False)
    assert "policemen" in inflections("policeman", verbs=False)


def test_normalised_text_and_words():
    assert normalise("Ｂloo\u200bdÿ ’S") == "bloody 's"
    assert [word.text for word in read("the doctors' dog's bed, n4ked").words] == [
        *("the", "doctors", "'s", "dog", "'s", "bed", "n4ked"),
    ]


def test_lists_in_phrases_and_their_faults():
    phrases = Phrases({"pets": ["cat", "guinea pig"], "wanted": ["big @pets", "@pets 's tail"]}, verbs=False)
    search = Search(phrases, "a big guinea pig, the cats's tails, a big dog")
    found = [match.written for match in search.find("wanted")]
    assert found == ["big guinea pig", "cats's tails"]
    with pytest.raises(UserError, match="@birds in a list of keywords: there is no such list"):
        Phrases({"wanted": ["big @birds"]}, verbs=False)
    with pytest.raises(UserError, match="the keyword '!!!' has no letter"):
        Phrases({"wanted": ["!!!"]}, verbs=False)
    with pytest.raises(UserError, match="refers to itself"):
        Phrases({"a": ["@b"], "b": ["@a"]}, verbs=False)


def test_a_value_of_ones_own():
    own = Value(statement="smoking considered inappropriate", kind="harm", keywords=("smoke", "cigarette"))
    keywords = Keywords(Values(values=(own,)))
    assert keywords.retrieve("a man smoking").statement == own.statement
    assert keywords.retrieve("c1garettes").statement == own.statement
    assert keywords.retrieve("a smokestack") is None


def test_a_thousand_prompts_in_a_second(keywords):
    prompts = [f"a photo of a doctor number {i} in a hospital, cinematic light, 8k, b-l-u-r" for i in range(1000)]
    start = time.process_time()
    for prompt in prompts:
        keywords.retrieve(prompt)
    assert time.process_time() - start < 1  # a fifth of that on two slow cores
