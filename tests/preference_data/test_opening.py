"""Every form in which preference data lies about, opened by one function; what is faulty names its row."""

import io
import json
import tarfile
import tracemalloc

import datasets
import numpy as np
import pytest
from PIL import Image

from diffusion_base.data import load_image
from diffusion_base.errors import UserError
from preference_data import Choice, Labelled, Pair, Scored, open_dataset, open_rows, write_records

PICK_A_PIC = """,file_name,caption,split
0,train/a.jpg,"a castle, at night",exclusive_win
1,train/b.jpg,NA,exclusive_lose
2,train/c.jpg,,intersections
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def told(rows):
    """Rows as plain values, files by their names."""
    return [(row.prompt, [getattr(p, "name", p) for p in row.pictures], row.preferred, row.reward) for row in rows]


def jpeg(shade):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("policy", ["drop", "preferred", "dispreferred"])
def test_pick_a_pics_processed_table(tmp_path, policy):
    (tmp_path / "train_processed_v3.csv").write_text(PICK_A_PIC)
    rows = open_rows(tmp_path, split="train", intersections=policy)
    of_c = {"drop": [], "preferred": [("", ["c.jpg"], True, 1)], "dispreferred": [("", ["c.jpg"], False, 0)]}
    assert rows.kind == "labels" and not rows.embedded
    assert told(rows) == [("a castle, at night", ["a.jpg"], True, 1), ("NA", ["b.jpg"], False, 0), *of_c[policy]]
    assert rows[0].pictures[0] == tmp_path / "train/a.jpg"


def test_a_metadata_table_with_split_and_label(tmp_path):
    """There `split` says which part of the data a row is of; the byte-order mark is Excel's."""
    (tmp_path / "metadata.csv").write_text(
        "\ufefffile_path,text,split,label\na.png,a cat,train,1\nb.png,a cat,train,0\n"
    )
    assert told(open_rows(tmp_path)) == [("a cat", ["a.png"], True, 1), ("a cat", ["b.png"], False, 0)]


@pytest.mark.parametrize(
    ("records", "kind", "expected"),
    [
        ([("pair", "a", "b")], "pairs", [("p", ["a", "b"], True, 1)]),
        ([("label", "a", True), ("label", "b", False)], "labels", [("p", ["a"], True, 1), ("p", ["b"], False, 0)]),
        ([("score", "a", 2.5)], "scalars", [("p", ["a"], True, 2.5)]),
        ([("choice", "a", "b", "c")], "pairs", [("p", ["b", "a"], True, 1), ("p", ["b", "c"], True, 1)]),
    ],
)
def test_records(tmp_path, records, kind, expected):
    made = {
        "pair": lambda one, other: Pair("p", tmp_path / one, tmp_path / other),
        "label": lambda one, preferred: Labelled(tmp_path / one, "p", preferred, "p"),
        "score": lambda one, reward: Scored(tmp_path / one, "p", reward),
        "choice": lambda *names: Choice("p", tuple(tmp_path / name for name in names), 1),
    }
    write_records(tmp_path / "records.jsonl", [made[form](*values) for form, *values in records])
    rows = open_rows(tmp_path / "records.jsonl")
    assert (rows.kind, told(rows)) == (kind, expected)


def test_hps_s_choices(tmp_path):
    choice = {"prompt": "p", "file_path": ["0.jpg", "1.jpg", "2.jpg"], "human_preference": 1}
    (tmp_path / "preference_train.json").write_text(json.dumps([choice]))
    rows = open_rows(tmp_path / "preference_train.json")
    assert told(rows) == [("p", ["1.jpg", "0.jpg"], True, 1), ("p", ["1.jpg", "2.jpg"], True, 1)]
    assert rows[0].pictures[0] == tmp_path / "preference_images/1.jpg"


def test_folders_of_pictures(tmp_path):
    for name in ("preferred/a", "dispreferred/sub/b"):
        file = tmp_path / f"{name}.png"
        file.parent.mkdir(parents=True)
        file.touch()
        file.with_suffix(".txt").write_text("a cat\n")
    assert told(open_rows(tmp_path)) == [("a cat", ["b.png"], False, 0), ("a cat", ["a.png"], True, 1)]
    (tmp_path / "preferred/a.txt").unlink()
    with pytest.raises(UserError, match=r"a\.png has no prompt: put it into a\.txt"):
        open_rows(tmp_path)


def pick_a_pic_v2(folder):
    """Two decided pairs and a tie, of three pictures, as published; another split beside it."""
    one, two, three = jpeg(0), jpeg(100), jpeg(200)
    rows = {
        "jpg_0": [one, one, two],
        "jpg_1": [two, three, three],
        "label_0": [1.0, 0.0, 0.5],
        "caption": ["p", "p", "q"],
        "image_0_uid": ["1", "1", "2"],
        "image_1_uid": ["2", "3", "3"],
    }
    (folder / "data").mkdir(parents=True)
    datasets.Dataset.from_dict(rows).to_parquet(folder / "data/train-00000-of-00001.parquet")
    datasets.Dataset.from_dict(rows).to_parquet(folder / "data/test-00000-of-00001.parquet")
    return one, two, three


def test_pick_a_pic_v2(tmp_path):
    one, two, three = pick_a_pic_v2(tmp_path)
    pairs = open_rows(tmp_path)
    assert pairs.kind == "pairs" and pairs.embedded
    assert told(pairs) == [("p", [one, two], True, 1), ("p", [three, one], True, 1)]
    assert load_image(pairs[0].pictures[0]).size == (8, 8)
    # the first picture won a pair and lost another
    assert told(pairs.as_labels("drop")) == [("p", [two], False, 0), ("p", [three], True, 1)]
    assert told(pairs.as_labels("preferred"))[0] == ("p", [one], True, 1)
    assert told(open_dataset(str(tmp_path), split="train", cache_dir=None)) == told(pairs)


def test_pictures_that_nothing_tells_apart_count_once_a_pair(tmp_path):
    one, two = jpeg(0), jpeg(100)
    data = datasets.Dataset.from_dict(
        {"jpg_0": [one, two], "jpg_1": [two, one], "label_0": [1, 1], "caption": ["p", "p"]}
    )
    data.to_parquet(tmp_path / "pairs.parquet")
    assert [row.preferred for row in open_rows(tmp_path).as_labels()] == [True, False, True, False]


def test_tar_shards(tmp_path):
    with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
        for key, label in (("a", 1), ("b", 0)):
            said = json.dumps({"caption": "a cat", "label": label}).encode()
            for suffix, content in (("jpg", jpeg(label)), ("json", said)):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    rows = open_rows(tmp_path)
    assert told(rows) == [("a cat", [jpeg(1)], True, 1), ("a cat", [jpeg(0)], False, 0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("caption,label\na,1\n", "has no column file_name, file_path"),
        ("file_name,label\na,1\n", "has no column prompt, caption, text or txt"),
        ("file_name,caption\na,p\n", "has no column label, split, reward or score"),
        ("file_name,caption,label\na,p,1\nb,p,liked\n", "row 2: label is 'liked'; it must be one of exclusive_win"),
        ("file_name,caption,reward\na,p,nan\n", "row 1: reward is no finite number"),
        ("file_name,caption,reward\na,p,much\n", "reward must be numbers"),
        ("preferred,dispreferred,caption\na,b,p\nb,b,p\n", "row 2: both pictures are the same"),
        ("file_name,caption,label\na,1\n", r"\['a', '1'\] has 2 columns, the first line 3"),
        ('file_name,caption,label\n"a,p,1\n', "can't be read as a CSV table: unexpected end"),
    ],
)
def test_faulty_tables(tmp_path, text, message):
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        open_rows(tmp_path)


def test_faults_of_pictures_show_when_they_are_asked_for(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,caption,label\n../a.png,p,1\n")
    with pytest.raises(UserError, match="leaves its folder"):
        _ = open_rows(tmp_path)[0]
    same = {"jpg_0": [b"1", b"1"], "jpg_1": [b"1", None], "label_0": [1, 1], "caption": ["p", "p"]}
    datasets.Dataset.from_dict(same).to_parquet(tmp_path / "pairs.parquet")
    rows = open_rows(tmp_path / "pairs.parquet")
    for i, message in ((0, "row 1: both pictures are the same"), (1, "row 2: there is no picture")):
        with pytest.raises(UserError, match=message):
            _ = rows[i]


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        open_rows(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no preference data here; expected"):
        open_rows(tmp_path)
    with pytest.raises(UserError, match="--dataset_name .*can't be loaded"):
        open_dataset(str(tmp_path), split="train", cache_dir=None)


def test_the_fingerprint_sees_prompts_labels_and_pictures(tmp_path):
    marks = set()
    for i, (label, prompt, picture) in enumerate([(1, "p", b"a"), (0, "p", b"a"), (1, "q", b"a"), (1, "p", b"ab")]):
        rows = {"jpg_0": [picture], "jpg_1": [b"c"], "label_0": [label], "caption": [prompt]}
        datasets.Dataset.from_dict(rows).to_parquet(tmp_path / f"{i}.parquet")
        marks |= {open_rows(tmp_path / f"{i}.parquet").fingerprint() for _ in range(2)}
    assert len(marks) == 4


def test_memory_stays_flat(tmp_path):
    """Ten times the rows, each with a picture of 2 KB, take ten times the labels and no more of Python's memory."""
    used = {}
    for count in (200, 2000):
        rows = {"jpg_0": [b"0" * 2000] * count, "jpg_1": [b"1" * 2000] * count, "label_0": [1] * count}
        file = tmp_path / f"{count}.parquet"
        datasets.Dataset.from_dict(rows | {"caption": ["p"] * count}).to_parquet(file)
        tracemalloc.start()
        opened = open_rows(file)
        assert len(opened[count - 1].pictures[0]) == 2000
        used[count] = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert used[2000] - used[200] < 1800 * 100  # of 7 MB of pictures
    assert isinstance(opened.index, np.ndarray)
