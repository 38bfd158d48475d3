"""The names that a UNet's parameters had in the first Stable Diffusion (CompVis, "LDM"): those of single-file
checkpoints and of what WebUI and ComfyUI read, and of LoRAs that kohya's scripts train on SDXL."""

import re
from collections.abc import Iterable

from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING, LDM_UNET_KEY

UNET_PREFIX = LDM_UNET_KEY  # of a whole checkpoint
OUTSIDE = DIFFUSERS_TO_LDM_MAPPING["unet"]["layers"] | DIFFUSERS_TO_LDM_MAPPING["unet"]["addition_embed_type"]
PART = re.compile(
    r"(?P<block>mid_block|(?:down|up)_blocks\.(?P<number>\d+))\."
    r"(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<layer>\d+)\.(?P<rest>.+)"
)
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def unet_names(names: Iterable[str], layers_per_block: int) -> dict[str, str]:
    """A UNet's names in diffusers → in LDM, without a prefix; those that LDM has no counterpart of are left out.

    Args:
        names: of all its parameters.
        layers_per_block: the same in all blocks, as in every Stable Diffusion.
    """
    names = list(names)
    found = {name: OUTSIDE[name] for name in names if name in OUTSIDE}
    parts = {name: match for name in names if (match := PART.fullmatch(name))}
    attending = {match["block"] for match in parts.values() if match["kind"] == "attentions"}
    for name, part in parts.items():
        block, kind, layer, rest = part["block"], part["kind"], int(part["layer"]), part["rest"]
        if kind == "resnets":
            inner, _, leaf = rest.partition(".")
            rest = f"{RESNET[inner]}.{leaf}"
        if block == "mid_block":  # resnet, attention, resnet
            found[name] = f"middle_block.{2 * layer if kind == 'resnets' else 1}.{rest}"
            continue
        # in one row: conv_in, and of each block its layers with what follows them
        first = int(part["number"]) * (layers_per_block + 1)
        if kind == "downsamplers":
            found[name] = f"input_blocks.{first + layers_per_block + 1}.0.op.{rest.removeprefix('conv.')}"
        elif kind == "upsamplers":  # in the block's last entry, after its resnet and attention
            found[name] = f"output_blocks.{first + layers_per_block}.{2 if block in attending else 1}.{rest}"
        else:
            place = (
                f"input_blocks.{first + layer + 1}" if block.startswith("down") else f"output_blocks.{first + layer}"
            )
            found[name] = f"{place}.{0 if kind == 'resnets' else 1}.{rest}"
    return found
