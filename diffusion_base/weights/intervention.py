"""Published weights at inference, through the weights' door: what a notebook imports."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from diffusion_base.errors import UserError
from diffusion_base.identity import base_of_run, file_hash, json_hash, known_by, learned_elsewhere
from diffusion_base.intervention import Context, Intervention, check_strengths
from diffusion_base.pipeline import Pipeline
from diffusion_base.weights.edits import Edit
from diffusion_base.weights.files import read_state
from diffusion_base.weights.locating import Found, locate
from diffusion_base.weights.matching import Matched, match, parse_lora_config
from diffusion_base.weights.names import Names, Place

DIFFUSERS_CONFIG = "lora_adapter_metadata"  # under which diffusers keeps a LoRA's configuration in the file


class PublishedWeights(Intervention):
    """Weights as people publish them, put in for the length of a call.

    Layouts: a whole UNet in diffusers' folder, a pipeline with a merged UNet, a single-file checkpoint's UNet; a part
    of one under plain names (UCE, ESD); LoRAs of diffusers, peft and kohya, of linear layers and convolutions, on the
    UNet and the text encoders, concept sliders among them; LoRAs of the former attention processors. All are known by
    their names, whatever the file is called.

    Args:
        path: a file, a folder, or a repository's name on the hub; see `locating.locate`.
        pipeline: the base.
        strength: 0 is the base, 1 the weights as published, between is interpolation. LoRAs also take others.
        weight_name: the file in that folder or repository, where several could be meant.
        other_base: take weights of a training of this repository that began from another base; the description says so.

    Attributes:
        matched: how many tensors were used, and which were not.

    Raises:
        UserError: nothing there or nothing for this base; weights for a base of other shapes; a file that can't be read
            without running code; a strength out of range.
    """

    reads = ()

    def __init__(
        self,
        path: str | Path,
        *,
        pipeline: Pipeline,
        strength: float = 1.0,
        weight_name: str | None = None,
        other_base: bool = False,
    ):
        names = Names(pipeline)
        self.source, self.strength = str(path), strength
        self.found = locate(path, names.denoiser, weight_name)
        self.matched = read_weights(self.found, names, self.source)
        self._check_strength()
        first = self.found.files[0]  # a run's own LoRA lies in its folder, a whole denoiser in a folder there
        base = base_of_run(first.parent if first.parent.name == names.denoiser else first)
        self.warning = learned_elsewhere(base, pipeline, self.source, other_base)

    def _check_strength(self) -> None:
        check_strengths(strength=self.strength)
        if self.matched.bounded and not 0 <= self.strength <= 1:
            raise UserError(
                f"strength {self.strength:g}: {self.source} holds whole weights, and between the base's and those "
                "there are strengths from 0 to 1 alone; a LoRA takes others"
            )

    def begin(self, context: Context) -> None:
        self._check_strength()  # it may have been set since

    @contextmanager
    def swap_weights(self, context: Context) -> Iterator[None]:
        with put_in(context.pipeline, self.matched.edits, self.strength):
            yield

    @cached_property
    def hash(self) -> str:
        """Of the files."""
        config = self.found.adapter_config
        return json_hash([file_hash(file) for file in (*self.found.files, *([config] if config else []))])

    def __str__(self) -> str:
        alone = "; of the pipeline there nothing else is taken" if self.found.of_pipeline else ""
        return f"{self.source}: {self.matched}{alone}"

    def describe(self) -> dict:
        return {
            "method": "weights",
            "weights": self.hash,
            "used": self.matched.used,
            "unused": len(self.matched.unused),
            "strength": self.strength,
            **self.warning,
        }


def read_weights(found: Found, names: Names, source: str) -> Matched:
    """Read files and match them with a base.

    Raises:
        UserError: as `read_state` and `match`; or a whole denoiser of another architecture.
    """
    tensors: dict[str, Tensor] = {}
    configs: dict[str, Any] = {}
    try:
        for file in found.files:
            tensors |= read_state(file)
            if file.suffix == ".safetensors":
                with safe_open(file, framework="pt") as opened:
                    metadata = opened.metadata() or {}
                configs |= parse_lora_config(metadata[DIFFUSERS_CONFIG]) if DIFFUSERS_CONFIG in metadata else {}
        if found.adapter_config:
            configs[""] = json.loads(found.adapter_config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{source}: what is said there of the LoRA's scale is damaged ({error})") from None
    matched = match(tensors, names, source, configs)
    if found.whole and (missing := [place for place in names.of(names.denoiser) if place not in matched.edits]):
        raise UserError(
            f"{source} is a whole {names.denoiser} of another architecture: it lacks {len(missing)} of this base's "
            f"parameters, {missing[0].name} for instance"
        )
    return matched


@contextmanager
def put_in(pipeline: Pipeline, edits: Mapping[Place, Edit], strength: float) -> Iterator[None]:
    """Change parameters, and afterwards put the very ones of before back; inside, both are kept.

    The base's identity stays its own.
    """
    own: list[tuple[nn.Module, str, Tensor]] = []
    stand_ins: list[tuple[Tensor, Tensor]] = []
    try:
        for place, edit in edits.items():
            module, attribute = place.owner(pipeline)
            before = getattr(module, attribute)
            with torch.no_grad():
                after = edit.made(before, strength)
            if isinstance(before, nn.Parameter):
                after = nn.Parameter(after, requires_grad=False)
            own.append((module, attribute, before))
            stand_ins.append((after, before))
            setattr(module, attribute, after)
        with known_by(stand_ins):
            yield
    finally:
        for module, attribute, before in own:
            setattr(module, attribute, before)
