"""A template of a report to one HTML file: it extends page.html.jinja, pictures are inside, nothing is requested."""

import base64
import io
from pathlib import Path

import jinja2
from PIL import Image

from diffusion_base.data import load_image

THUMBNAIL = 128  # pixels a side at most


def page_environment(package: str) -> jinja2.Environment:
    """Templates of a package's templates/, which may extend page.html.jinja and use the filter `thumbnail`.

    page.html.jinja shows `title`, `intro` and `provenance` (label → text), and has the blocks summary and content.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader("diffusion_base.page")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thumbnail"] = thumbnail
    return environment


def thumbnail(file: Path) -> str:
    """The picture as a data URI, WebP, no larger than THUMBNAIL.

    Raises:
        UserError: it is missing or broken.
    """
    image = load_image(file)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "WEBP", quality=85, method=4)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
