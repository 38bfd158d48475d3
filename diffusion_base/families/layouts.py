"""How other programs name a family's networks in their files."""

from collections.abc import Mapping
from typing import Literal, NamedTuple


class Layouts(NamedTuple):
    """A component → what stands before its tensors' names; empty where a family has no such file.

    Attributes:
        single_file: in a checkpoint of a whole base.
        kohya: in a LoRA of kohya's scripts.
        kohya_unet: whose names for the UNet's layers these take.
    """

    single_file: Mapping[str, str] = {}
    kohya: Mapping[str, str] = {}
    kohya_unet: Literal["diffusers", "ldm"] = "diffusers"
