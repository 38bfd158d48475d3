import json

import pytest

from diffusion_base.errors import UserError
from evaluation.pictures.prompts import make_records, read_prompt_files, read_prompts


def write(file, *rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_seeds_do_not_depend_on_how_many_pictures_are_made():
    few = make_records(["a", "b"], images_per_prompt=2)
    many = {row["file"]: row["seed"] for row in make_records(["a", "b"], images_per_prompt=50)}
    assert all(many[row["file"]] == row["seed"] for row in few)
    assert len(set(many.values())) == 100 and few[0]["seed"] == 42


def test_a_row_may_name_its_first_seed():
    """The other prompts' seeds are what they would be without."""
    records = make_records([{"prompt": "a", "sd_seed": 7}, {"prompt": "b"}], images_per_prompt=2)
    assert [record["seed"] for record in records] == [7, 8, 1042, 1043]


def test_the_first_pictures_of_a_prompt_get_the_value():
    rows = make_records(["a", "b"], images_per_prompt=3, value="gender equality", value_images=1)
    assert [row["value_applied"] for row in rows] == [True, False, False] * 2
    assert {row["value"] for row in rows} == {"gender equality"}
    assert make_records(["a"], images_per_prompt=1) == [
        {"file": "0_0.png", "prompt": "a", "prompt_index": 0, "seed": 42}
    ]


def test_a_rows_own_value_comes_first():
    """And where a method names the value itself, the records say only which pictures get it."""
    rows = [{"prompt": "a", "value": "racial equality"}, {"prompt": "b", "value": None}, {"prompt": "c"}]
    records = make_records(rows, images_per_prompt=1, value="gender equality")
    assert [record["value"] for record in records] == ["racial equality", None, "gender equality"]
    split = make_records(["c"], images_per_prompt=2, value_images=1)
    assert [record["value_applied"] for record in split] == [True, False] and "value" not in split[0]
    plain = make_records(rows, images_per_prompt=1)
    assert [record.get("value") for record in plain] == ["racial equality", None, None]
    assert "value_applied" not in plain[0]


def test_records_repeat_what_a_row_says_but_for_names_of_their_own():
    row = {"prompt": "a", "category": "hate", "seed": 7, "file": "x.png", "score": 3, "answer": "male", "sha256": ""}
    assert make_records([row], images_per_prompt=1, seed=1) == [
        {"file": "0_0.png", "prompt": "a", "prompt_index": 0, "seed": 1, "category": "hate"}
    ]


def test_files_are_read_whole(tmp_path):
    rows = [{"prompt": "a", "value": "not applicable", "id": 3}, {"prompt": "b", "value": None}]
    assert read_prompts(write(tmp_path / "career.jsonl", *rows)) == rows
    other = write(tmp_path / "badness.jsonl", {"prompt": "c"})
    assert read_prompt_files([tmp_path / "career.jsonl", other]) == {"career": rows, "badness": [{"prompt": "c"}]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a nurse"}\n{"prompt": \n', "career.jsonl, line 2: not JSON"),
        ('{"prompt": "a nurse"}\n["a pilot"]\n', "career.jsonl, line 2"),
        ('{"promt": "a nurse"}\n', "career.jsonl, line 1: 'prompt' is missing"),
        ('{"prompt": 3}\n', "career.jsonl: a prompt must be text, not 3"),
        ('{"prompt": "a nurse", "value": 3}\n', "career.jsonl: the value of 'a nurse' must be text or null, not 3"),
        ('{"prompt": "a nurse", "sd_seed": "3"}\n', "career.jsonl: the sd_seed of 'a nurse' must be a whole number"),
        ("\n", "career.jsonl holds no prompts"),
    ],
)
def test_bad_files(tmp_path, text, message):
    (tmp_path / "career.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        read_prompts(tmp_path / "career.jsonl")


def test_two_files_of_one_name(tmp_path):
    (tmp_path / "new").mkdir()
    files = [write(folder / "career.jsonl", {"prompt": "a"}) for folder in (tmp_path, tmp_path / "new")]
    with pytest.raises(UserError, match="two files have the same name"):
        read_prompt_files(files)
