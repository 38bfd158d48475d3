"""Shares counted by hand, and what cannot be judged."""

import json

import pytest
from scipy.stats import beta

from diffusion_base.errors import UserError
from diffusion_base.files import read_jsonl
from latent_directions.understanding.entities import read_vocabulary
from latent_directions.understanding.groups import GENDER, RACE, Group, named_groups, read_groups
from latent_directions.understanding.social import main, shares
from tests.latent_directions.understanding.judges import JUDGE, write_pictures


def test_shares_and_their_exact_interval():
    """Clopper & Pearson's limits are quantiles of Beta distributions."""
    male, female = shares("pictures", GENDER, ["female"] * 7 + ["male"] * 3)
    assert (male.count, male.n, female.share) == (3, 10, 0.7)
    assert (female.low, female.high) == pytest.approx((beta.ppf(0.025, 7, 4), beta.ppf(0.975, 8, 3)))


def test_the_built_in_groups():
    assert GENDER.sentences == ["a photo of a man", "a photo of a woman"]
    assert len(RACE.choices) == 7 and "a photo of an east asian person" in RACE.sentences


def test_folders_side_by_side(tmp_path, capsys):
    base = write_pictures(tmp_path / "base" / "images", [0] * 6 + [255] * 2).parent  # a generated set
    fair = write_pictures(tmp_path / "fair", [0] * 2 + [128] * 1 + [255] * 3)
    (tmp_path / "groups.yaml").write_text("tone: {choices: [dark, middle, light]}\n")
    out = tmp_path / "out"
    words = ["--pictures", str(base), str(fair), "--names", "base", "fair", "--judge", JUDGE, "--output_dir", str(out)]
    main([*words, "--groups", "gender", "tone", "--groups_file", str(tmp_path / "groups.yaml")])
    found = {(row["pictures"], row["choice"]): row for row in json.loads((out / "shares.json").read_text())}
    assert found["base", "female"]["share"] == 0.25 and found["fair", "female"]["share"] == pytest.approx(4 / 6)
    assert [found["fair", word]["count"] for word in ("dark", "middle", "light")] == [2, 1, 3]
    assert (out / "gender.png").is_file() and (out / "tone.png").is_file()
    rows = read_jsonl(out / "answers.jsonl")
    assert len(rows) == 2 * 14 and rows[0]["answer"] == "male" and rows[0]["judge"] == "brightness"
    assert "6 of 8" in capsys.readouterr().out


def test_classes_of_ones_own(tmp_path):
    pictures = write_pictures(tmp_path / "pictures", [0, 255, 255])
    words = ["--pictures", str(pictures), "--choices", "old", "young", "--judge", JUDGE]
    out = main([*words, "--output_dir", str(tmp_path / "out")])
    assert [row["count"] for row in json.loads((out / "shares.json").read_text())] == [1, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--pictures {folder}/nothing", "there is no such folder of pictures"),
        ("--pictures {folder}/empty", "holds no pictures"),
        ("--pictures {folder}/set", "images holds no pictures"),
        ("--pictures {folder}/some --judge tests.latent_directions.understanding.judges:preference", "take another"),
        ("--pictures {folder}/some --choices old who?", "does not know 'who\\?'; take another --judge"),
        ("--pictures {folder}/some --choices old", "two or more choices"),
        ("--pictures {folder}/some --choices old old", "'old' comes twice"),
        ("--pictures {folder}/some --choices old young --wording nothing", "must hold {choice}"),
        ("--pictures {folder}/some --choices old young --groups gender", "exclude each other"),
        ("--pictures {folder}/some --groups age", "there is no such group; there are gender, race"),
        ("--pictures {folder}/some --names a b", "2 names for 1 folders"),
        ("--pictures {folder}/some {folder}/some", "two folders of --pictures have one name"),
    ],
)
def test_what_cannot_be_judged(words, message, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "set" / "images").mkdir(parents=True)
    write_pictures(tmp_path / "some", [0])
    given = words.format(folder=tmp_path).split()
    judge = [] if "--judge" in given else ["--judge", JUDGE]
    with pytest.raises(UserError, match=message):
        main([*given, *judge, "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("[", "is not YAML"),
        ("age: {choices: [old]}", "'age': two or more choices"),
        ("age: {words: [old, young]}", "age, choices: Field required"),
        ("age: [old, young]", "age: .*a group is"),
        ('age: {choices: [old, young], wording: "a person"}', "must hold {choice}"),
    ],
)
def test_group_files_that_cannot_be_used(content, message, tmp_path):
    (tmp_path / "groups.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        read_groups(tmp_path / "groups.yaml")


def test_which_groups_are_meant(tmp_path):
    (tmp_path / "groups.yaml").write_text("age: {choices: [old, young], value: age equality}\n")
    age = Group("age", ("old", "young"))
    assert named_groups([], tmp_path / "groups.yaml") == [age]
    assert named_groups(["gender", "age"], tmp_path / "groups.yaml") == [GENDER, age]
    assert named_groups([]) == [GENDER, RACE]
    assert read_vocabulary(tmp_path / "groups.yaml")[0].sentences == ["a photo of an old", "a photo of a young"]
    with pytest.raises(UserError, match="there is no such file"):
        read_groups(tmp_path / "nothing.yaml")
