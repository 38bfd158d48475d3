"""What the parameters of a base are called in the files that people publish."""

import re
from dataclasses import dataclass

from torch import nn

from diffusion_base.families import family_of
from diffusion_base.identity import modules_of
from diffusion_base.pipeline import Pipeline
from diffusion_base.weights.ldm import unet_names

WRAPPERS = re.compile(r"(?:module\.|base_model\.model\.)*")  # torch's for several devices, peft's
TEXT_ENCODERS = {"lora_te_": "text_encoder", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2"}
DENOISERS = ("lora_unet_", "model.diffusion_model.", "diffusion_model.")


@dataclass(frozen=True)
class Place:
    """A parameter of a base: its network, and its name in there."""

    component: str
    name: str

    @property
    def plain(self) -> str:
        """The name in there, whether or not a LoRA of the user's own wraps the layer."""
        return self.name.replace(".base_layer.", ".")

    @property
    def layer(self) -> str:
        """Of a weight: the name of its layer."""
        return self.plain.removesuffix(".weight")

    @property
    def published_layer(self) -> str:
        """The same as files have it: in text encoders under a wrapper, which transformers has no longer everywhere."""
        wrapped = self.component.startswith("text_encoder") and not self.layer.startswith("text_")
        return f"text_model.{self.layer}" if wrapped else self.layer

    def owner(self, pipeline: Pipeline) -> tuple[nn.Module, str]:
        """The module that has it, and the attribute."""
        module, _, attribute = self.name.rpartition(".")
        return pipeline.components[self.component].get_submodule(module), attribute

    def __str__(self) -> str:
        return f"{self.component}.{self.name}"


class Names:
    """Where the names of published files point in a base.

    Files differ in prefixes, in dots or underscores between a name's parts (kohya), and in LDM's names or diffusers'.
    So names are compared without prefix and with underscores alone, which still tells all parameters of a base apart.

    Attributes:
        denoiser: the name of the network that predicts, which is meant where there is no prefix.
        shapes: of all parameters that can be meant.
    """

    def __init__(self, pipeline: Pipeline):
        modules = modules_of(pipeline)
        predicting = family_of(pipeline).denoiser(pipeline)
        self.denoiser = next(name for name, module in modules.items() if module is predicting)
        components = [self.denoiser, *(name for name in modules if name.startswith("text_encoder"))]
        self.prefixes = dict.fromkeys(DENOISERS, self.denoiser) | TEXT_ENCODERS
        self.prefixes |= {f"{name}.": name for name in components}
        self.shapes: dict[Place, tuple[int, ...]] = {}
        self.places: dict[tuple[str, str], Place] = {}
        for component in components:
            for name, parameter in modules[component].state_dict().items():
                if ".lora_" in name:  # the user's own LoRA, which wraps layers: their weights are …base_layer.weight
                    continue
                place = Place(component, name)
                self.shapes[place] = tuple(parameter.shape)
                self._call(place, place.plain)
        if isinstance(layers := predicting.config.get("layers_per_block"), int):  # of a UNet
            named = {place.plain: place for place in self.of(self.denoiser)}
            for name, ldm in unet_names(named, layers).items():
                self._call(named[name], ldm)

    def _call(self, place: Place, name: str) -> None:
        """Let a parameter be found by a name."""
        self.places[place.component, flat(name)] = place
        if place.component != self.denoiser:  # text encoders' wrapper comes and goes between transformers' versions
            bare = name.removeprefix("text_model.")
            self.places[place.component, flat(bare)] = self.places[place.component, flat(f"text_model.{bare}")] = place

    def of(self, component: str) -> list[Place]:
        """All parameters of a network."""
        return [place for place in self.shapes if place.component == component]

    def parameter(self, name: str) -> Place | None:
        """Where a parameter's name points; None is to nothing."""
        component, rest = self.network(name)
        return self.places.get((component, flat(rest)))

    def weight(self, layer: str) -> Place | None:
        """Where the weight of a layer of that name is; None where there is none."""
        component, rest = self.network(layer)
        places = (self.places.get((component, f"{flat(rest)}{ending}")) for ending in ("_weight", "_0_weight"))
        return next((place for place in places if place), None)  # what was `to_out` is `to_out.0` now

    def network(self, name: str) -> tuple[str, str]:
        """The network that a name means, and the rest of the name."""
        name = WRAPPERS.sub("", name, count=1)
        prefix = next((prefix for prefix in self.prefixes if name.startswith(prefix)), "")
        return self.prefixes.get(prefix, self.denoiser), name.removeprefix(prefix)


def flat(name: str) -> str:
    """A name with underscores alone, as kohya's scripts write it; attention processors once held the layers' LoRAs."""
    return name.replace(".processor.", ".").replace(".", "_")
