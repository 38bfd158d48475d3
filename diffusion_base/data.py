"""Pictures and manifests from disk: every fault names its file, and its line where there is one."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from diffusion_base.errors import UserError


def load_image(path: Path) -> Image.Image:
    """A picture in RGB, upright.

    Raises:
        UserError: the file is missing, truncated or no picture.
    """
    try:
        with Image.open(path) as file:
            file.load()
            image: Image.Image = ImageOps.exif_transpose(file)
            if "transparency" in image.info:  # a palette's transparent entries
                image = image.convert("RGBA")
            return image.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such picture") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a picture, or a damaged one ({error}); replace it or take it out") from None


def square(image: Image.Image, resolution: int, crop: tuple[float, float] = (0.5, 0.5)) -> Image.Image:
    """Scale the shorter side to `resolution` pixels and cut a square out.

    Args:
        crop: where the cut lies, (across, down), from 0 (left, top) to 1: (0.5, 0.5) is the centre crop, two uniform
            random numbers a random crop.
    """
    scale = resolution / min(image.size)
    width, height = (max(resolution, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (round((side - resolution) * place) for side, place in zip((width, height), crop, strict=True))
    return image.crop((left, top, left + resolution, top + resolution))


def to_tensor(image: Image.Image) -> Tensor:
    """(3, H, W) float32 in [−1, 1], the range the VAE knows."""
    return torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


def mirror(pixels: Tensor) -> Tensor:
    """Left and right exchanged, (…, W)."""
    return pixels.flip(-1)


def inside(folder: Path, file_name: str) -> Path:
    """The path of a manifest's `file_name`, which must stay in the manifest's folder.

    Raises:
        UserError: an absolute path, one that climbs out by `..` or by a link, or no name at all.
    """
    folder = Path(folder)
    if not isinstance(file_name, str) or not file_name:
        raise UserError(f"file_name {file_name!r} in {folder}: the name of a file is needed")
    path = folder / file_name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"file_name {file_name!r} leaves its folder {folder}")
    return path
