"""Pictures and manifests from disk: every fault names its file, and its line where there is one."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION
from torch import Tensor

from diffusion_base.errors import UserError

RGB_KINDS = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}  # PIL's modes that it turns into RGB rightly
SIDEWAYS = {5, 6, 7, 8}  # EXIF's orientations of pictures that lie on their side
WHITE_AT_65535 = {"PNG", "PPM", "JPEG2000"}  # formats whose grey PIL reads so, if it is deeper than 8 bits


def load_image(path: Path | bytes) -> Image.Image:
    """A picture in RGB, upright: the one way in which pictures are read, from a file or from a file's bytes.

    Grey of 16 bits is scaled, what is transparent lies on white, of moving pictures the first one counts.

    Raises:
        UserError: the file is missing, truncated or no picture; or what is white in it can't be known, as of floating
            point, 32-bit integers and Lab.
    """
    named = f"a picture of {len(path)} bytes" if isinstance(path, bytes) else str(path)
    try:
        with Image.open(BytesIO(path) if isinstance(path, bytes) else path) as file:
            file.load()
            upright: Image.Image = ImageOps.exif_transpose(file)
            image = _eight_bits(upright) if _has_sixteen_bits(file) else upright
            if image.has_transparency_data:
                image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            elif image.mode not in RGB_KINDS:
                raise UserError(
                    f"{named}: its pixels ({file.format}, {image.mode}) can't be turned into RGB without guessing what "
                    "is white; save it in RGB, or in grey of 8 bits"
                )
            return image.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{named}: there is no such picture") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{named}: not a picture, or a damaged one ({error}); replace it or take it out") from None


def size_of(path: Path) -> tuple[int, int]:
    """(width, height) of a picture as `load_image` would give it, by its file's head alone."""
    with Image.open(path) as file:
        width, height = file.size
        return (height, width) if file.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS else (width, height)


def _has_sixteen_bits(file: Any) -> bool:
    """Whether an opened picture is grey from 0 to 65535."""
    if file.format == "TIFF":
        tags = file.tag_v2
        black_is_zero, bits = tags.get(PHOTOMETRIC_INTERPRETATION) == 1, tags.get(BITSPERSAMPLE)
        return file.mode.startswith("I;16") and black_is_zero and bits == (16,)
    return (file.mode == "I" or file.mode.startswith("I;16")) and file.format in WHITE_AT_65535


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits by its high bytes, as PIL reads colours of 16 bits; a transparent grey is white."""
    values = np.asarray(image)
    clear = values == image.info.get("transparency", -1)
    return Image.fromarray(np.where(clear, 255, values >> 8).astype(np.uint8))


def square(image: Image.Image, resolution: int, crop: tuple[float, float] = (0.5, 0.5)) -> Image.Image:
    """Scale the shorter side to `resolution` pixels and cut a square out.

    Args:
        crop: where the cut lies, (across, down), from 0 (left, top) to 1: (0.5, 0.5) is the centre crop, two uniform
            random numbers a random crop.
    """
    (width, height), (left, top) = placed(image.size, resolution, crop)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return image.crop((left, top, left + resolution, top + resolution))


def placed(
    size: tuple[int, int], resolution: int, crop: tuple[float, float] = (0.5, 0.5)
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where `square` cuts a picture of `size`, (width, height): its size once scaled, and the cut's (left, top)."""
    scale = resolution / min(size)
    width, height = (max(resolution, round(side * scale)) for side in size)
    left, top = (round((side - resolution) * place) for side, place in zip((width, height), crop, strict=True))
    return (width, height), (left, top)


def to_tensor(image: Image.Image) -> Tensor:
    """(3, H, W) float32 in [−1, 1], the range the VAE knows."""
    return torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


def mirror(pixels: Tensor) -> Tensor:
    """Left and right exchanged, (…, W)."""
    return pixels.flip(-1)
