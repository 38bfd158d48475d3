"""The frozen twin of what is trained: the base as it was before, for L_ref and for pictures beside the policy's."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from diffusion_base.families import family_of
from diffusion_base.pipeline import Pipeline


class Reference:
    """Inside `with reference():` the pipeline is the base, outside it is what is trained.

    Of a LoRA it costs nothing: the adapter that is trained is switched off, with the copies of whole modules that it
    trains (`modules_to_save`), and one that the user had loaded stays on.
    Of a whole denoiser it is a copy, taken now: make it before anything is cast or trained.

    Args:
        pipeline: whose denoiser is trained, or a LoRA on any of its parts.
        adapter: the name of the LoRA that is trained; None for a whole denoiser.
        dtype: of the copy, the precision of what is frozen.

    Raises:
        ValueError: no such adapter is active in any part of the pipeline.
    """

    def __init__(self, pipeline: Pipeline, adapter: str | None = None, dtype: torch.dtype = torch.float32):
        self.pipeline, self.adapter = pipeline, adapter
        if adapter is None:
            denoiser = family_of(pipeline).denoiser(pipeline)
            (self.name,) = [name for name, part in pipeline.components.items() if part is denoiser]
            self.twin = deepcopy(denoiser).requires_grad_(False).eval()
            nn.ModuleList([self.twin]).to(dtype)  # not by diffusers' own `to`, which warns of every cast
            return
        modules = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
        kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)  # the latter: a LoRA's modules_to_save
        layers = [layer for module in modules for layer in module.modules() if isinstance(layer, kinds)]
        self.layers = [layer for layer in layers if adapter in layer.active_adapters]
        if not self.layers:
            raise ValueError(f"no adapter {adapter!r} is active in the pipeline: add it before its Reference is made")

    def __call__(self) -> AbstractContextManager[None]:
        return self._copy_in_place() if self.adapter is None else self._adapter_off()

    @contextmanager
    def _copy_in_place(self) -> Iterator[None]:
        parts = vars(self.pipeline)  # not by setattr, which in a diffusers pipeline rewrites its configuration too
        policy = parts[self.name]
        parts[self.name] = self.twin
        try:
            yield
        finally:
            parts[self.name] = policy

    @contextmanager
    def _adapter_off(self) -> Iterator[None]:
        active = [layer.active_adapters for layer in self.layers]
        # not by set_adapter, which also decides what requires a gradient: the user's adapter would be trained after it
        for layer, names in zip(self.layers, active, strict=True):
            layer._active_adapter = [name for name in names if name != self.adapter]
        try:
            yield
        finally:
            for layer, names in zip(self.layers, active, strict=True):
                layer._active_adapter = names
