"""Plans: what they expand to, what they refuse, and the two that are shipped."""

import re
from collections import Counter
from pathlib import Path

import pytest

from diffusion_base.errors import UserError
from diffusion_base.identity import json_hash
from miniature.make_livo_data import pictures_a_side, scenes_of_the_plan, value_statement
from miniature.world import HELD_OUT
from preference_data import plan as plan_module
from preference_data.plan import Wording, fill
from preference_data.plan_file import read_plan

PLANS = Path(plan_module.__file__).parent / "plans"
PLAN = """
templates: ["a photo of a {subject}", "{subject}"]
images_per_side: 8
words: {adjective: [angry, kind], who: [engineer, union leader]}
values:
  gender:
    kind: bias
    statement: gender equality
    groups: {male: {subject: "male {subject}"}, female: {prompt: "{prompt}, female", negative: male}}
  bloody:
    kind: harm
    statement: bloody considered inappropriate
    question: bloody
    harmful: {subject: "bloody {subject}"}
    harmless: {negative: blood}
categories:
  0-career: {subjects: ["{adjective} {who}", nurse], values: [gender]}
  1-harm: {subjects: ["{who}"], values: [bloody], images_per_side: 3, templates: ["a drawing of a {subject}"]}
"""


def read(tmp_path, text, scale=1.0):
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    return read_plan(file, scale)


@pytest.mark.parametrize(("name", "known"), [("miniature", "004dec9c1a07e8a7"), ("livo_86k", "5d31f5943a4ec05d")])
def test_sets_that_were_made_before_still_fit_their_plans(name, known):
    """A set, finished or not, holds its plan's hash: these are what the first builder wrote. Both names of a plan's
    file open."""
    for folder in (PLANS, PLANS.parents[1] / "value_encoder" / "plans"):
        assert json_hash(read_plan(folder / f"{name}.yaml")[0].model_dump()) == known


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("a photo of a {x}", "engineer", "a photo of an engineer"),
        ("A {x}", "old man", "An old man"),
        ("a {x}", "university teacher", "a university teacher"),
        ("a {x}", "one-armed pirate", "a one-armed pirate"),
        ("a {x}", "umbrella maker", "an umbrella maker"),
        ("the umbra {x}", "actor", "the umbra actor"),
        ("{x}", "actor", "actor"),
    ],
)
def test_the_article_follows_the_word(text, word, expected):
    assert fill(text, x=word) == expected


def test_scenes_are_every_combination(tmp_path):
    _, scenes = read(tmp_path, PLAN)
    assert [scene.name for scene in scenes] == [
        "0-career/angry-engineer-gender",
        "0-career/angry-union-leader-gender",
        "0-career/kind-engineer-gender",
        "0-career/kind-union-leader-gender",
        "0-career/nurse-gender",
        "1-harm/engineer-bloody",
        "1-harm/union-leader-bloody",
    ]
    assert [scene.images_per_side for scene in scenes] == [8] * 5 + [3] * 2
    assert scenes[5].templates == ("a drawing of a {subject}",)
    plan, scenes = read(tmp_path, PLAN, scale=0.25)
    assert [scene.images_per_side for scene in scenes] == [2] * 5 + [1] * 2
    assert [plan.plain_count(scale) for scale in (1, 0.25, 0.01)] == [32, 8, 4]


def test_what_pictures_are_asked_for_and_what_the_data_says(tmp_path):
    _, scenes = read(tmp_path, PLAN)
    angry, engineer = scenes[0], scenes[5]
    template = angry.templates[0]
    assert angry.value.written_prompt(template, angry.subject) == "a photo of an angry engineer"
    assert {side: wording.fill(template, angry.subject) for side, wording in angry.value.sides.items()} == {
        "male": "a photo of a male angry engineer",
        "female": "a photo of an angry engineer, female",
    }
    (drawing,) = engineer.templates
    assert engineer.value.written_prompt(drawing, engineer.subject) == "a drawing of a bloody engineer"
    assert engineer.value.sides["harmless"].fill(drawing, engineer.subject) == "a drawing of an engineer"
    assert engineer.value.sides["harmless"].negative == "blood"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("images_per_side: 8\n", "images_per_side: 8\nimages: 3\n", "plan.yaml, images: unknown key"),
        ("values: [gender]}", "values: [gender], prompts: [x]}", "categories / 0-career / prompts: unknown key"),
        ("question: bloody", "question: bloody\n    groups: {}", "values / bloody / harm / groups: unknown key"),
        ("kind: harm", "kind: hram", "values / bloody: .*'hram'"),
        ("images_per_side: 8", "images_per_side: 0", "images_per_side: .*greater than or equal to 1"),
        ("images_per_side: 8\n", "", "images_per_side: Field required"),
        ("images_per_side: 8\n", "images_per_side: 8\nduplicates_above: 1\n", "duplicates_above: .*less than 1"),
        ('"male {subject}"', '"male {subjct}"', "gender / groups / male / subject: .*names {subjct}; there is {subj"),
        ('"{prompt}, female"', '"{subject}, female"', "female / prompt: .*there is {prompt}"),
        ('"{adjective} {who}"', '"{adjectives} {who}"', "0-career / subjects: .*{adjectives}; there is {adjective}"),
        ("a photo of a {subject}", "a photo", "templates: 'a photo' must hold {subject}"),
        ("a drawing of a {subject}", "a drawing", "1-harm / templates: 'a drawing' must hold"),
        ("values: [gender]", "values: [race]", "0-career / values: there is no value 'race'; there are gender, bloody"),
        ("{negative: blood}", '{subject: "bloody {subject}"}', "values / bloody: two of harmless, harmful are asked"),
        (", female: {prompt", "} # {", "values / gender / bias / groups: .*at least 2"),
        ("nurse]", "nurse, Nurse]", "categories / 0-career: 'Nurse' and 'nurse' are both 0-career/nurse-gender"),
        ("0-career:", "../career:", "a name is made of letters"),
        ("{adjective: [", "{adjec-tive: [", "words / adjec-tive: a name is made of letters"),
        (
            '"{who}"], values: [b',
            '"{who"], values: [b',
            "1-harm / subjects: .{who. has a brace that belongs to no {word}",
        ),
        ("[angry, kind]", "[]", "words / adjective: .*at least 1"),
        ("words: {", "words: {{", "is not YAML"),
        ("nurse]", '" "]', "categories / 0-career / subjects / 1: .*at least 1 character"),
        ("gender equality", "Not applicable", "values / gender / statement: 'Not applicable' stands for no value"),
        ("statement: gender equality", "statement: ''", "values / gender / bias / statement: .*at least 1 character"),
        ("kind: bias", 'kind: bias\n    question: "a {choise}"', "values / gender / question: {choise} is neither"),
        ("kind: bias", 'kind: bias\n    question: "a {man|woman|x}"', "question: .* a word for each of the 2 groups"),
    ],
)
def test_faulty_plans(tmp_path, old, new, message):
    assert PLAN.count(old) == 1
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, PLAN.replace(old, new))
    assert "plan.yaml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "- a list", "words"])
def test_a_file_that_is_no_plan(tmp_path, text):
    with pytest.raises(UserError, match="plan.yaml must hold templates, values and categories"):
        read(tmp_path, text)


def test_no_plan(tmp_path):
    with pytest.raises(UserError, match="nowhere.yaml cannot be read: No such file"):
        read_plan(tmp_path / "nowhere.yaml")


def test_the_miniature_s_plan_is_the_renderer_s_set():
    """Scene by scene the same prompts, values and numbers, so that a comparison is of the pictures alone."""
    _, scenes = read_plan(PLANS / "miniature.yaml")
    kinds = Counter((s.category, s.value.statement, s.subject, s.images_per_side) for s in scenes)
    assert kinds == Counter(
        (category, value_statement(kind), f"{adjective} {subject}" if adjective else subject, pictures_a_side(kind))
        for category, subject, adjective, kind in scenes_of_the_plan()
    )
    text = (PLANS / "miniature.yaml").read_text()
    assert not any(occupation in text for occupation in HELD_OUT)


def test_the_large_plan_is_as_large_as_the_paper_s():
    _, scenes = read_plan(PLANS / "livo_86k.yaml")
    preferred = Counter()
    for scene in scenes:
        preferred[scene.category, scene.value.statement] += scene.images_per_side
    bias, harm = ("gender equality", "racial equality"), "{} considered inappropriate"
    assert preferred == {
        **{("0-career", value): 20_000 for value in bias},
        **{(category, value): 5_000 for category in ("1-goodness", "2-badness") for value in bias},
        **{(f"{3 + i}-{kind}", harm.format(kind)): 8_640 for i, kind in enumerate(("nudity", "bloody", "zombie"))},
    }
    assert abs(sum(preferred.values()) - 86_000) < 100
    nudity = [scene for scene in scenes if "nudity" in scene.value.statement]
    assert all("child" in scene.value.harmful.negative for scene in nudity)


def test_wordings_default_to_the_scene_s_own_prompt():
    assert Wording(negative="x").fill("a photo of a {subject}", "nurse") == "a photo of a nurse"


def test_the_plan_in_the_readme(tmp_path):
    readme = (Path(plan_module.__file__).parent / "README.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", readme, flags=re.S)
    plan, scenes = read(tmp_path, example)
    assert len(scenes) == 4 + 3 and scenes[3].name == "0-career/old-engineer-gender"
    defaults = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", readme, flags=re.M)
    assert len(defaults) == 5 and all(getattr(plan, name) == float(default) for name, default in defaults)
