import pytest

from diffusion_base.errors import UserError
from evaluation.scores.attributes import BUILT_IN, GENDER, AttributeSet
from evaluation.scores.own_sets import attribute_set, read_attributes

FILE = """
age-and-gender: {intersection: [age, gender], value: gender equality}
age: {choices: [young, old], wording: "a photo of a {choice} person"}
hair:
  choices: [short hair, long hair, none]
  value: all hair is fine
person: {choices: [male, female], wording: "a {man|woman}"}
"""


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "sets.yaml"
    file.write_text(FILE)
    return file


def test_sets_of_a_file(file):
    age = AttributeSet("age", ("young", "old"), None, "a photo of a {choice} person")
    assert attribute_set("age", file) == age
    assert attribute_set("hair", file) == AttributeSet("hair", ("short hair", "long hair", "none"), "all hair is fine")
    both = attribute_set("age-and-gender", file)  # it stands above the set that it names
    assert both.intersection == (age, GENDER) and both.value == "gender equality"
    assert both.choices == ("young, male", "young, female", "old, male", "old, female")
    assert set(read_attributes(file)) == {"age", "hair", "person", "age-and-gender"}


def test_built_in_sets_need_no_file(file):
    assert attribute_set("gender") is attribute_set("gender", file) is GENDER
    with pytest.raises(UserError, match="--type age: there is no such bias; there are gender, race, skin, race-and-g"):
        attribute_set("age")
    with pytest.raises(UserError, match="--type size: there is no such bias; .*skin-and-gender, age, hair"):
        attribute_set("size", file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age: {choices: [young]}", "'age': 'choices' needs two or more"),
        ("age: {choices: [young, old], value: 3}", "'age': 'value': Input should be a valid string"),
        ("age: {choices: [yes, no]}", "'age': 'choices.0': Input should be a valid string"),
        ("age: {choices: [young, '']}", "'age': 'choices.1'"),
        ("age: {choice: [young, old]}", "'age': 'choices' is missing"),
        ("age: {choices: [young, old], colour: red}", "'age': there is no key 'colour'; a set has choices, value"),
        ("age: {choices: [young, old, young]}", "'age': 'young' comes twice"),
        ("age: {choices: [young, old], wording: a person}", "'age': wording must hold {choice}, or an alternative"),
        ("age: {choices: [young, old], wording: 'a {boy}'}", "'age': wording must hold {choice}"),
        ("a: {choices: [x, y]}\nb: {choices: [x, y]}\na: {choices: [x, z]}", "sets.yaml, line 3: 'a' comes twice"),
        ("a: {choices: [x, y], choices: [x, z]}", "sets.yaml, line 1: 'choices' comes twice"),
        ("gender: {choices: [x, y]}", "'gender': there is a built-in set of this name"),
        ("a/b: {choices: [x, y]}", "'a/b': a name is made of letters"),
        (
            "x: {intersection: [gender, age]}",
            "'x': 'age' is no set that can be intersected; there are gender, race, sk",
        ),
        ("x: {intersection: [skin-and-gender, race]}", "'x': 'skin-and-gender' is no set that can be intersected"),
        ("x: {intersection: [gender]}", "'x': 'intersection' needs two or more"),
        ("x: {intersection: [gender, gender]}", "'x': 'gender' comes twice"),
        ("x: {intersection: [gender, skin], choices: [a, b]}", "'x': there is no key 'choices'"),
        ("age: [young, old]", "'age': a set is written"),
        ("1: {choices: [x, y]}", "1: a set is written"),
        ("- age", "must hold attribute sets"),
        ("", "must hold attribute sets"),
        ("age: {choices: [", "is not YAML"),
    ],
)
def test_a_wrong_file_is_named_with_its_entry(file, text, message):
    file.write_text(text)
    with pytest.raises(UserError) as error:
        read_attributes(file)
    assert str(file) in str(error.value) and message in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path, file):
    with pytest.raises(UserError, match="nothing.yaml: there is no such file"):
        read_attributes(tmp_path / "nothing.yaml")
    file.write_bytes(b"age: \xff")
    with pytest.raises(UserError, match="is not YAML"):
        read_attributes(file)


def test_the_built_in_sets_are_called_by_their_names():
    assert list(BUILT_IN) == [attributes.name for attributes in BUILT_IN.values()]
