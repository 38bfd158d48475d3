"""Pictures and manifests: the arithmetic of the transforms, and one clear sentence for every fault."""

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion_base.data import inside, load_image, mirror, square, to_tensor
from diffusion_base.errors import UserError
from diffusion_base.files import read_jsonl


def test_square_scales_the_shorter_side_and_cuts():
    """A 40×20 picture, left half black, right half white, at 10 pixels: 20×10, of which the crop keeps a square."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 20:] = 255
    image = Image.fromarray(pixels)
    left, centre, right = (np.asarray(square(image, 10, (x, 0.5))) for x in (0.0, 0.5, 1.0))
    assert left.shape == centre.shape == right.shape == (10, 10, 3)
    assert left[:, :9].max() == 0 and right[:, 1:].min() == 255
    assert (centre == 255 - centre[:, ::-1]).all()


def test_to_tensor_spans_minus_one_to_one_and_mirror_flips_the_width():
    image = Image.fromarray(np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8))
    tensor = to_tensor(image)
    assert tensor.shape == (3, 1, 2)
    assert tensor[0].tolist() == [[-1, 1]] and mirror(tensor)[0].tolist() == [[1, -1]]


def test_load_image_turns_it_upright_and_into_rgb(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new("RGB", (4, 2)).save(tmp_path / "turned.jpg", exif=exif)
    palette = Image.new("P", (4, 4))
    palette.save(tmp_path / "palette.png", transparency=b"\x00\x80")
    assert load_image(tmp_path / "turned.jpg").size == (2, 4)
    assert load_image(tmp_path / "palette.png").mode == "RGB"


def test_bad_pictures_are_named(tmp_path):
    noise = torch.randint(0, 256, (64, 64, 3), generator=torch.Generator().manual_seed(0)).byte().numpy()
    Image.fromarray(noise).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    for name in ("truncated.png", "text.png", "empty.jpg", "missing.png"):
        with pytest.raises(UserError, match=name):
            load_image(tmp_path / name)


def test_read_jsonl_names_file_and_line(tmp_path):
    file = tmp_path / "metadata.jsonl"
    file.write_text('{"prompt": "a\u2028b"}\r\n\n{"prompt": "c"}\n', encoding="utf-8")
    assert [row["prompt"] for row in read_jsonl(file, ["prompt"])] == ["a\u2028b", "c"]
    for line, message in [("{oops", "not JSON"), ("[1]", "JSON object"), ('{"label": 1}', "'prompt' is missing")]:
        file.write_text('{"prompt": "a"}\n\n' + line)
        with pytest.raises(UserError, match=f"metadata.jsonl, line 3: .*{message}"):
            read_jsonl(file, ["prompt"])
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="metadata.jsonl"):
        read_jsonl(file)
    with pytest.raises(UserError, match="no such file"):
        read_jsonl(tmp_path / "other.jsonl")


def test_file_name_must_stay_in_its_folder(tmp_path):
    folder = tmp_path / "scene"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    assert inside(folder, "images/../a.png") == folder / "images/../a.png"
    for name in ("../a.png", "/etc/passwd", "images/../../a.png", "link/a.png", "", 3):
        with pytest.raises(UserError, match="file_name"):
            inside(folder, name)
