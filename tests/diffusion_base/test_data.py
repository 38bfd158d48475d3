"""Pictures and manifests: the arithmetic of the transforms, and one clear sentence for every fault."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion_base.data import load_image, mirror, square, to_tensor
from diffusion_base.errors import UserError
from diffusion_base.files import inside, read_jsonl


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


def picture(mode: str, *colours) -> Image.Image:
    """One pixel a colour, side by side."""
    image = Image.new(mode, (len(colours), 1))
    for x, colour in enumerate(colours):
        image.putpixel((x, 0), colour)
    return image


def palette(*, clear: bool = False) -> Image.Image:
    image = picture("P", 0, 1)
    image.putpalette([200, 0, 0, 0, 0, 100])
    if clear:
        image.info["transparency"] = bytes([255, 0])
    return image


# 16 bits: 257 v is v of 8 bits; half of what is red or black shows as much white
READ = {
    "1.png": (picture("1", 0, 255), [(0, 0, 0), (255, 255, 255)]),
    "1.tiff": (picture("1", 0, 255), [(0, 0, 0), (255, 255, 255)]),
    "L.png": (picture("L", 7, 200), [(7, 7, 7), (200, 200, 200)]),
    "L.pgm": (picture("L", 7, 200), [(7, 7, 7), (200, 200, 200)]),
    "L.webp": (picture("L", 7, 200), [(7, 7, 7), (200, 200, 200)]),
    "LA.png": (picture("LA", (0, 255), (0, 0), (0, 128)), [(0, 0, 0), (255, 255, 255), (127, 127, 127)]),
    "LA.tiff": (picture("LA", (9, 255), (9, 0)), [(9, 9, 9), (255, 255, 255)]),
    "P.png": (palette(), [(200, 0, 0), (0, 0, 100)]),
    "P.gif": (palette(), [(200, 0, 0), (0, 0, 100)]),
    "P clear.png": (palette(clear=True), [(200, 0, 0), (255, 255, 255)]),
    "PA.tiff": (palette().convert("PA"), [(200, 0, 0), (0, 0, 100)]),
    "RGB.bmp": (picture("RGB", (1, 2, 3)), [(1, 2, 3)]),
    "RGBA.png": (picture("RGBA", (255, 0, 0, 128), (1, 2, 3, 255)), [(255, 127, 127), (1, 2, 3)]),
    "RGBA.tiff": (picture("RGBA", (1, 2, 3, 0), (1, 2, 3, 255)), [(255, 255, 255), (1, 2, 3)]),
    "RGBA.webp": (picture("RGBA", (0, 0, 0, 0), (0, 0, 0, 255)), [(255, 255, 255), (0, 0, 0)]),
    "RGBX.tiff": (picture("RGBX", (1, 2, 3, 0)), [(1, 2, 3)]),
    "CMYK.tiff": (picture("CMYK", (0, 0, 0, 0), (0, 255, 0, 0)), [(255, 255, 255), (255, 0, 255)]),
    "YCbCr.tiff": (picture("YCbCr", (80, 128, 128)), [(80, 80, 80)]),
    "I;16.png": (picture("I;16", 0, 257 * 100, 65535), [(0, 0, 0), (100, 100, 100), (255, 255, 255)]),
    "I;16.tiff": (picture("I;16", 0, 257 * 100, 65535), [(0, 0, 0), (100, 100, 100), (255, 255, 255)]),
    "I;16B.tiff": (picture("I;16B", 257 * 100, 65535), [(100, 100, 100), (255, 255, 255)]),
    "I;16.jp2": (picture("I;16", 0, 257 * 100, 65535), [(0, 0, 0), (100, 100, 100), (255, 255, 255)]),
    "I.pgm": (picture("I", 0, 257 * 100, 65535), [(0, 0, 0), (100, 100, 100), (255, 255, 255)]),
}


@pytest.mark.parametrize("name", READ)
def test_every_kind_of_picture_is_read_as_it_looks(tmp_path, name):
    image, expected = READ[name]
    image.save(tmp_path / name, lossless=True)
    read = load_image(tmp_path / name)
    assert read.mode == "RGB" and [read.getpixel((x, 0)) for x in range(read.width)] == expected


@pytest.mark.parametrize("name", ["I.tiff", "F.tiff", "LAB.tiff", "F.pfm", "I;16.ico"])
def test_pictures_without_a_white_of_their_own_are_refused(tmp_path, name):
    mode, ending = name.split(".")
    Image.new(mode, (16, 16)).save(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name}: its pixels \(.*{mode}\) can't be .* guessing what is white"):
        load_image(tmp_path / name)


@pytest.mark.parametrize(("tag", "usual", "value"), [(262, 1, 0), (258, 16, 12)])
def test_sixteen_bits_that_are_not_from_black_to_white_are_refused(tmp_path, tag, usual, value):
    """TIFFs in which 0 is white, which PIL doesn't turn round, and of 12 bits, which end at 4095."""
    picture("I;16", 0, 4095).save(tmp_path / "grey.tiff")
    data = (tmp_path / "grey.tiff").read_bytes()
    entry, changed = (struct.pack("<HHIHH", tag, 3, 1, number, 0) for number in (usual, value))
    assert data.count(entry) == 1
    (tmp_path / "grey.tiff").write_bytes(data.replace(entry, changed))
    with pytest.raises(UserError, match="without guessing what is white"):
        load_image(tmp_path / "grey.tiff")


def test_grey_of_eight_and_of_sixteen_bits_is_the_same_picture(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    assert load_image(tmp_path / "8.png").tobytes() == load_image(tmp_path / "16.png").tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "turned.png", exif=exif)
    assert (np.asarray(load_image(tmp_path / "turned.png"))[:, :, 0] == np.rot90(grey, -1)).all()


def test_a_transparent_grey_of_sixteen_bits_is_white(tmp_path):
    picture("I;16", 0, 40000).save(tmp_path / "clear.png", transparency=40000)
    image = load_image(tmp_path / "clear.png")
    assert [image.getpixel((x, 0)) for x in range(2)] == [(0, 0, 0), (255, 255, 255)]


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tiff"])
def test_of_a_moving_picture_the_first_counts(tmp_path, ending):
    first, second = Image.new("RGB", (8, 8), (0, 0, 255)), Image.new("RGB", (8, 8), (255, 0, 0))
    first.save(tmp_path / f"moving.{ending}", save_all=True, append_images=[second], lossless=True)
    assert load_image(tmp_path / f"moving.{ending}").getcolors() == [(64, (0, 0, 255))]


def test_pictures_are_opened_in_one_place():
    repository = Path(__file__).parents[2]
    files = [file for file in repository.glob("[!.]*/**/*.py") if "tests" not in file.relative_to(repository).parts]
    assert [file.name for file in files if "Image.open(" in file.read_text()] == ["data.py"]


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
