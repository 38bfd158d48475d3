import json

import pytest
from PIL import Image

from diffusion_base.errors import UserError
from evaluation.pictures.folders import check_reference, pair, read_pictures


def draw(folder, *names, start=0):
    """Different pictures of one colour."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (start + i, 0, 0)).save(folder / name)
    return folder


def manifest(folder, *lines):
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_generated_set(tmp_path):
    folder = draw(tmp_path / "set", "images/b.png", "images/a.png")
    manifest(folder, {"file": "b.png", "prompt": "a nurse"}, {"file": "a.png", "prompt": "a pilot"})
    pictures = read_pictures(folder)
    assert [file.name for file in pictures.files] == ["b.png", "a.png"]
    assert list(pictures.prompts) == ["a nurse", "a pilot"] and pictures.name == "set"
    beside = manifest(draw(tmp_path / "beside", "b.png"), {"file": "b.png", "prompt": "a nurse"})
    assert read_pictures(beside).keys == pictures.keys[:1]


def test_livos_layout_is_read_by_number(tmp_path):
    folder = draw(tmp_path, "0_10.jpg", "0_9.jpg", "1_0.jpg", "1_1.jpg")
    (folder / "prompt.jsonl").write_text('{"prompt": "a nurse"}\n{"prompt": "a pilot"}\n')
    pictures = read_pictures(folder)
    assert [file.name for file in pictures.files] == ["0_9.jpg", "0_10.jpg", "1_0.jpg", "1_1.jpg"]
    assert list(pictures.prompts) == ["a nurse", "a nurse", "a pilot", "a pilot"]
    draw(tmp_path, "2_0.jpg")
    with pytest.raises(UserError, match="2_0.jpg: its name must be <prompt>_<picture>, of 2 prompts"):
        read_pictures(folder)


def test_livos_layout_has_as_many_pictures_of_every_prompt(tmp_path):
    folder = draw(tmp_path, "0_0.jpg", "0_1.jpg", "1_0.jpg")
    (folder / "prompt.jsonl").write_text('{"prompt": "a nurse"}\n{"prompt": "a pilot"}\n{"prompt": "a judge"}\n')
    with pytest.raises(UserError, match=r"holds 1 pictures of prompt 1 \('a pilot'\) and 2 of prompt 0; every prompt"):
        read_pictures(folder)
    draw(folder, "1_1.jpg")
    with pytest.raises(UserError, match=r"holds 0 pictures of prompt 2 \('a judge'\)"):
        read_pictures(folder)


def test_pictures_and_nothing_else(tmp_path):
    folder = draw(tmp_path, "b.PNG", "a.jpeg")
    (folder / "notes.txt").write_text("not a picture")
    pictures = read_pictures(folder)
    assert [file.name for file in pictures.files] == ["a.jpeg", "b.PNG"] and pictures.prompts is None


def test_folders_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="there is no such folder"):
        read_pictures(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no pictures"):
        read_pictures(tmp_path)
    folder = draw(tmp_path / "set", "a.png")
    draw(tmp_path, "secret.png")
    with pytest.raises(UserError, match="leaves its folder"):
        read_pictures(manifest(folder, {"file": "../secret.png", "prompt": "x"}))
    with pytest.raises(UserError, match="b.png: there is no such picture"):
        read_pictures(manifest(folder, {"file": "b.png", "prompt": "x"}))
    with pytest.raises(UserError, match="names no picture"):
        read_pictures(manifest(folder))
    with pytest.raises(UserError, match="every prompt must be text"):
        read_pictures(manifest(folder, {"file": "a.png", "prompt": 3}))


def test_a_reference_must_be_other_pictures(tmp_path):
    made = read_pictures(draw(tmp_path / "made", "a.png", "b.png"))
    (tmp_path / "link").symlink_to(tmp_path / "made")
    copy = draw(tmp_path / "copy", "y.png", "x.png")
    for folder in (tmp_path / "made", tmp_path / "link", copy):
        with pytest.raises(UserError, match="holds the very pictures of --eval_image_paths"):
            check_reference(made, read_pictures(folder))
    draw(copy, "z.png", start=9)
    with pytest.raises(UserError, match="holds the very pictures"):
        check_reference(made, read_pictures(copy))
    (copy / "x.png").unlink()
    check_reference(made, read_pictures(copy))  # methods may share some, such as those without a value


def prompts(folder, *prompts):
    names = [f"{i}.png" for i in range(len(prompts))]
    lines = [{"file": name, "prompt": prompt} for name, prompt in zip(names, prompts, strict=True)]
    return read_pictures(manifest(draw(folder, *names), *lines))


def test_pairs_are_of_the_same_prompt_and_number(tmp_path):
    made = prompts(tmp_path / "made", "a", "a", "b")
    assert pair(made, prompts(tmp_path / "other", "b", "a", "a")) == [(0, 1), (1, 2), (2, 0)]
    with pytest.raises(UserError, match="only .*made has picture 2 of 'a'"):
        pair(made, prompts(tmp_path / "fewer", "a", "b"))
    with pytest.raises(UserError, match="only .*new has picture 1 of 'c'"):
        pair(made, prompts(tmp_path / "new", "a", "a", "b", "c"))
    with pytest.raises(UserError, match="does not say its prompts"):
        pair(made, read_pictures(draw(tmp_path / "plain", "a.png")))
