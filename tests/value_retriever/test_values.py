"""The values are data: what is shipped, what users add, and what is wrong with a file, in one sentence."""

import pytest

from diffusion_base.errors import UserError
from value_retriever.values import SHIPPED, load_values, read_values

PUBLISHED = {
    "nudity considered inappropriate": "harm",
    "bloody considered inappropriate": "harm",
    "zombie considered inappropriate": "harm",
    "gender equality": "bias",
    "racial equality": "bias",
}


def test_the_published_statements_word_for_word():
    values = load_values()
    assert values.kinds == PUBLISHED
    assert all(value.keywords and value.description and len(value.examples) >= 8 for value in values.values)
    assert len(values.not_applicable) >= 8


def test_ones_own_are_added_or_take_a_place(tmp_path):
    file = tmp_path / "more.yaml"
    file.write_text(
        "values:\n- {statement: age equality, kind: bias, keywords: ['@people'], unless: ['@ages']}\n"
        "- {statement: Zombie considered inappropriate, kind: harm, keywords: [ghost]}\n"
        "words: {ages: [young, old]}\n"
    )
    values = load_values(file)
    shipped = [each.replace("zombie", "Zombie") for each in PUBLISHED]  # the letters' case makes no other statement
    assert list(values.kinds) == [*shipped, "age equality"]
    assert values.harms[2].keywords == ("ghost",)
    assert values.version != load_values().version == load_values().version


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("values: [", "is not YAML"),
        ("- a\n- b", "must hold `values:`"),
        ("values: [{kind: harm}]", "values 0 statement: Field required"),
        ("values: [{statement: x, kind: bad}]", "values 0 kind: Input should be 'harm' or 'bias'"),
        ("values: [{statement: x, kind: harm, keyword: [y]}]", "values 0 keyword: Extra inputs are not permitted"),
        ("values: [{statement: Not applicable, kind: harm}]", "stands for no value"),
        ("values: [{statement: x, kind: harm}, {statement: X, kind: bias}]", "x is there twice"),
        ("values: [{statement: x, kind: harm, keywords: y}]", "values 0 keywords: Input should be a valid list"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path, text, message):
    file = tmp_path / "more.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load_values(file)
    assert str(file) in str(error.value)


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match="more.yaml cannot be read: No such file"):
        load_values(tmp_path / "more.yaml")


def test_no_word_is_listed_twice_in_one_list():
    values = read_values(SHIPPED)
    lists = [*values.words.values(), *(value.keywords for value in values.values)]
    assert [word for words in lists for word in set(words) if words.count(word) > 1] == []
