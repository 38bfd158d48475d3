"""Published preference data: what the readers give, and what they refuse."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from diffusion_base.errors import UserError
from preference_data import Choice, Labelled
from preference_data.published import read_hps_choices, read_kto_table, read_livo_dataset, read_livo_folder
from tests.value_encoder.livo_data import SCENES, write_livo_data


@pytest.fixture
def root(tmp_path):
    return write_livo_data(tmp_path / "data")


@pytest.fixture
def metadata(root):
    return root / "0-career/doctor/metadata.jsonl"


def test_livo_s_layout(root):
    labels = list(read_livo_folder(root))
    assert [label.path.relative_to(root).as_posix() for label in labels[:4]] == [
        f"0-career/doctor/{i}.png" for i in range(4)
    ]
    assert [label.preferred for label in labels[:4]] == [True, True, False, False]
    assert {(label.group, label.prompt, label.value) for label in labels} == {
        (scene, *words) for scene, words in SCENES.items()
    }


@pytest.mark.parametrize("inside_tables", [True, False])
def test_the_same_as_a_hugging_face_dataset(root, tmp_path, inside_tables):
    rows = [
        {
            "image": entry.path.read_bytes() if inside_tables else str(entry.path),
            "label": int(entry.preferred),
            "prompt": entry.prompt,
            "value": entry.value,
            "category": entry.group.split("/")[0],
            "scene": entry.group.split("/")[1],
        }
        for entry in read_livo_folder(root)
    ]
    if inside_tables:
        for row in rows:
            row["image"] = {"bytes": row["image"], "path": None}
    saved = str(tmp_path / "saved")
    datasets.Dataset.from_list(rows).cast_column("image", datasets.Image()).save_to_disk(saved)
    theirs, ours = list(read_livo_dataset(saved, tmp_path / "pictures")), list(read_livo_folder(root))
    assert [(a.group, a.value, a.prompt, a.preferred) for a in theirs] == [
        (b.group, b.value, b.prompt, b.preferred) for b in ours
    ]
    assert np.array_equal(Image.open(theirs[3].path), Image.open(ours[3].path))


def test_dataset_without_a_column(tmp_path):
    datasets.Dataset.from_list([{"image": "a", "label": 1}]).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(UserError, match="no column category, prompt, scene, value"):
        list(read_livo_dataset(str(tmp_path / "saved"), tmp_path))


def test_missing_dataset(tmp_path):
    with pytest.raises(UserError, match="nowhere can't be loaded"):
        list(read_livo_dataset(str(tmp_path / "nowhere"), tmp_path))


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match="there is no such folder"):
        list(read_livo_folder(tmp_path / "nowhere"))


def test_empty_folder(tmp_path):
    with pytest.raises(UserError, match="no data here"):
        list(read_livo_folder(tmp_path))


def test_scene_without_metadata(root, metadata):
    metadata.unlink()
    with pytest.raises(UserError, match=r"doctor.metadata\.jsonl: there is no such file"):
        list(read_livo_folder(root))


def edit_line(metadata, number, **changes):
    lines = metadata.read_text().splitlines()
    lines[number - 1] = json.dumps(json.loads(lines[number - 1]) | changes)
    metadata.write_text("\n".join(lines))


def test_malformed_json_names_file_and_line(root, metadata):
    metadata.write_text(metadata.read_text().splitlines()[0] + "\n{oops\n")
    with pytest.raises(UserError, match=r"doctor.metadata\.jsonl, line 2"):
        list(read_livo_folder(root))


@pytest.mark.parametrize("label", [2, "1", True, None, 0.5])
def test_label_that_is_not_0_or_1(root, metadata, label):
    edit_line(metadata, 2, label=label)
    with pytest.raises(UserError, match=r"metadata\.jsonl, 1\.png: label is .*must be 1"):
        list(read_livo_folder(root))


@pytest.mark.parametrize("value", [5, "", None, ["gender equality"]])
def test_value_that_is_not_a_text(root, metadata, value):
    edit_line(metadata, 2, value=value)
    with pytest.raises(UserError, match="value is .*must be a text"):
        list(read_livo_folder(root))


def test_missing_key(root, metadata):
    metadata.write_text('{"file_name": "0.png", "label": 1, "prompt": "a doctor"}')
    with pytest.raises(UserError, match="line 1: 'value' is missing"):
        list(read_livo_folder(root))


def test_file_name_that_leaves_its_folder(root, metadata):
    edit_line(metadata, 1, file_name="../nurse/0.png")
    with pytest.raises(UserError, match="leaves its folder"):
        list(read_livo_folder(root))


def kto_table(folder: Path, text: str) -> Path:
    (folder / "train_processed_v3.csv").write_text(text)
    return folder / "train_processed_v3.csv"


PICK_A_PIC = """,file_name,caption,split
0,train/a.jpg,"a castle, at night",exclusive_win
1,train/b.jpg,"a castle, at night",exclusive_lose
2,train/c.jpg,,intersections
"""


@pytest.mark.parametrize(("policy", "of_c"), [("drop", None), ("preferred", True), ("dispreferred", False)])
def test_diffusion_kto_s_table(tmp_path, policy, of_c):
    castle = "a castle, at night"
    labels = read_kto_table(kto_table(tmp_path, PICK_A_PIC), policy)
    assert labels[:2] == [
        Labelled(tmp_path / "train/a.jpg", castle, True, castle),
        Labelled(tmp_path / "train/b.jpg", castle, False, castle),
    ]
    assert labels[2:] == ([] if of_c is None else [Labelled(tmp_path / "train/c.jpg", "", of_c, "")])


def test_a_table_of_one_s_own(tmp_path):
    """The published README's columns: file_path, caption, label; here with a byte-order mark, as Excel writes."""
    file = kto_table(tmp_path, "\ufefffile_path,caption,label\na.png,a cat,exclusive_win\n")
    assert read_kto_table(file) == [Labelled(tmp_path / "a.png", "a cat", True, "a cat")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("caption,label\n", "has no column file_name or file_path"),
        ("file_name,caption\n", "has no column split or label"),
        ("file_name,split\n", "has no column caption"),
        ("", "has no column"),
        ("file_name,caption,label\na.png,a cat,win\n", "line 2: label is 'win'; it must be one of exclusive_win"),
        ("file_name,caption,label\na.png\n", "line 2: label is None"),
        ("file_name,caption,label\n../a.png,a cat,exclusive_win\n", "leaves its folder"),
        ('file_name,caption,label\n"a.png,a cat,exclusive_win\n', "can't be read as a CSV table: unexpected end"),
    ],
)
def test_faulty_tables(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_kto_table(kto_table(tmp_path, text))


def test_no_table(tmp_path):
    with pytest.raises(UserError, match="can't be read as a CSV table: No such file"):
        read_kto_table(tmp_path / "test_processed_v3.csv")


def hps_file(folder: Path, content) -> Path:
    (folder / "preference_test.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / "preference_test.json"


HPS = {"human_preference": 1, "prompt": "a cat", "id": 7, "user_hash": "1f", "contain_name": False}


def test_hps_s_choices(tmp_path):
    rows = [HPS | {"file_path": ["7_0.jpg", "preference_images/7_1.jpg"]}]
    pictures = (tmp_path / "preference_images/7_0.jpg", tmp_path / "preference_images/7_1.jpg")
    assert read_hps_choices(hps_file(tmp_path, rows)) == [Choice("a cat", pictures, 1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "can't be read as JSON"),
        ({}, "must hold a list of objects"),
        ([1], "must hold a list of objects"),
        ([HPS], "entry 0: 'file_path' is missing"),
        ([HPS | {"file_path": ["0.jpg"]}], "needs a list of two files or more"),
        ([HPS | {"file_path": ["0.jpg", "1.jpg"], "human_preference": 2}], "is 2; it must be an index from 0 to 1"),
        ([HPS | {"file_path": ["0.jpg", 1]}], "the name of a file is needed"),
        ([HPS | {"file_path": ["0.jpg", "1.jpg"], "prompt": 5}], "prompt is 5; it must be a text"),
        ([HPS | {"file_path": ["0.jpg", "../../1.jpg"]}], "leaves its folder"),
    ],
)
def test_faulty_choices(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_hps_choices(hps_file(tmp_path, content))
