"""Published tensors matched with a base's parameters, name by name; nothing passes silently."""

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from peft.utils.other import get_pattern_key
from torch import Tensor

from diffusion_base.errors import UserError
from diffusion_base.weights.edits import Edit, LowRank, Whole, spoken
from diffusion_base.weights.names import Names, Place

# …lora_down (kohya), …lora_A or …lora_A.default (peft), …_lora.down (attention processors), ….lora.down and
# ….lora_linear_layer.down (diffusers), each .weight
HALF = re.compile(
    r"(?P<layer>.+?)(?:\.lora_(?P<kohya>down|up)|\.lora_(?P<peft>[AB])(?:\.\w+)?"
    r"|[._]lora(?:_linear_layer)?\.(?P<diffusers>down|up))\.weight"
)
HALVES = {"A": "down", "B": "up"}
ALPHA = ".alpha"
START = re.compile(r"lora_[a-z0-9]+|[^.]*")


@dataclass(frozen=True)
class Matched:
    """What a file's tensors do to a base.

    Attributes:
        edits: place → its change.
        used: how many of the tensors these are made of.
        unused: the names of the others.
    """

    edits: dict[Place, Edit]
    used: int
    unused: list[str]

    @property
    def bounded(self) -> bool:
        """Whether some of it is whole parameters, so that a strength beyond 0 … 1 is none."""
        return any(isinstance(edit, Whole) for edit in self.edits.values())

    def __str__(self) -> str:
        places = Counter(place.component for place in self.edits)
        where = " and ".join(f"{count} parameters of the {component}" for component, count in places.items())
        kind = "whole parameters" if self.bounded else "low-rank differences"
        starts = Counter(START.match(name)[0] for name in self.unused)  # type: ignore[index]  # it matches anything
        rest = ", ".join(f"{count} named {start}…" for start, count in starts.most_common(4))
        return (
            f"{self.used} of {self.used + len(self.unused)} tensors are used, for {where} ({kind})"
            f"{f'; not used are {rest}' if rest else ''}"
        )


@dataclass
class Layer:
    """The tensors of one layer's LoRA, by what they are: "down", "up" and maybe "alpha"; and their names."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


def match(tensors: Mapping[str, Tensor], names: Names, source: str, lora_config: Mapping[str, Any]) -> Matched:
    """Find out what each tensor is for.

    Args:
        tensors: as a file has them.
        names: of the base.
        source: the file, for errors.
        lora_config: what peft or diffusers wrote beside a LoRA: `lora_alpha`, `alpha_pattern`, … of a network, under
            "" or the network's name; empty where there is none, and then the scale is 1 unless the file has alphas.

    Raises:
        UserError: nothing matches; or something is of another shape, is there twice or by half, or is of a kind that
            can't be applied.
    """
    layers: dict[str, Layer] = {}
    edits: dict[Place, Edit] = {}
    used: list[str] = []

    def add(place: Place, edit: Edit, made_of: list[str]) -> None:
        if place in edits:
            raise UserError(f"{source} has {place} twice, the second time as {made_of[0]}: leave one of them out")
        edits[place] = edit
        used.extend(made_of)

    for name, tensor in tensors.items():
        if half := HALF.fullmatch(name):
            kind = half["kohya"] or half["diffusers"] or HALVES[half["peft"]]
        elif name.endswith(ALPHA):
            kind = "alpha"
        else:
            if place := names.parameter(name):
                add(place, Whole(tensor), [name])
            continue
        layer = layers.setdefault(half["layer"] if half else name.removesuffix(ALPHA), Layer())
        layer.tensors[kind] = tensor
        layer.names.append(name)
    for name, layer in layers.items():
        if place := names.weight(name):
            _check_whole(layer, name, tensors.keys() - set(used), source)
            down = layer.tensors["down"]
            scale = _scale(layer, down.shape[0], place, lora_config)
            add(place, LowRank(down, layer.tensors["up"], scale), layer.names)
    _check_shapes(edits, names, source)
    if not edits:
        examples = ", ".join(list(tensors)[:2]) or "none at all"
        raise UserError(
            f"{source}: none of its {len(tensors)} tensors is for this base, neither for its {names.denoiser} nor for "
            f"its text encoders; their names are such as {examples}"
        )
    return Matched(edits, len(used), sorted(tensors.keys() - set(used)))


def _check_whole(layer: Layer, name: str, others: Collection[str], source: str) -> None:
    """Refuse what would be half a change: a half without the other, or with more than plain LoRA knows of."""
    if missing := {"down", "up"} - layer.tensors.keys():
        raise UserError(f"{source}: {layer.names[0]} is there, but not the layer's {missing.pop()} half: load it anew")
    if more := next((key for key in others if key.startswith(f"{name}.") and key not in layer.names), None):
        raise UserError(
            f"{source}: {more} is more than plain LoRA has (DoRA, LoCon with a core, a bias), which can't be put in "
            "here: merge it into its base where it was made, and give the merged UNet"
        )


def _scale(layer: Layer, rank: int, place: Place, configs: Mapping[str, Any]) -> float:
    """alpha / rank: the layer's own alpha, else that of the configuration; without any, 1."""
    if "alpha" in layer.tensors:
        return float(layer.tensors["alpha"]) / rank
    config = configs.get(place.component, configs.get("", {}))
    alphas = config.get("alpha_pattern") or {}
    alpha = alphas.get(get_pattern_key(alphas.keys(), place.layer), config.get("lora_alpha", rank))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _check_shapes(edits: Mapping[Place, Edit], names: Names, source: str) -> None:
    if wrong := [place for place, edit in edits.items() if not edit.fits(names.shapes[place])]:
        place = next((place for place in wrong if "attn2.to_k" in place.name), wrong[0])  # tells the text's width
        raise UserError(
            f"{source} is for another base: of {len(edits)} weights {len(wrong)} are of another shape, {place} for "
            f"instance is {edits[place].spoken_shape()} there and {spoken(names.shapes[place])} here"
        )


def parse_lora_config(text: str) -> dict[str, Any]:
    """A configuration as diffusers writes it into a file's metadata, "unet.lora_alpha" and so on; by network."""
    configs: dict[str, Any] = {}
    for key, value in json.loads(text).items():
        component, _, option = key.partition(".")
        configs.setdefault(component, {})[option] = value
    return configs
