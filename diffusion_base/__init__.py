"""The shared Stable Diffusion base: one image, four doors. It knows no alignment method."""

import logging
from typing import TYPE_CHECKING

from diffusion_base.lazy import lazy

if TYPE_CHECKING:
    from diffusion_base.generation import generate, generate_set
    from diffusion_base.pipeline import load_pipeline

__getattr__, __dir__ = lazy(
    __name__, {"diffusion_base.generation": ("generate", "generate_set"), "diffusion_base.pipeline": ("load_pipeline",)}
)

# Pictures are processed by PIL everywhere (the two backends differ slightly), so the lack of torchvision is no news.
logging.getLogger("transformers.utils.import_utils").addFilter(lambda record: "torchvision" not in record.getMessage())
