"""One image, four doors: the protocol through which every alignment method changes a frozen base model.

    prompt       edit_prompts    the text conditioning, negative prompt included
    noise        edit_latents    the initial latents
    bottleneck   hook            the UNet's activations, e.g. its mid block
    weights      swap_weights    the parameters, or a LoRA on them

A method implements the doors it goes through and inherits the others, which do nothing.
"""

import importlib.util
import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import parse_qsl

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from diffusion_base.conditioning import PromptEmbeddings
from diffusion_base.errors import UserError


@dataclass
class Context:
    """What an intervention may know of the B pictures that are being made together.

    Attributes:
        pipeline: the base.
        prompts, negative_prompts, seeds: one entry a picture; row i of the batch is picture i.
        records: what the manifest says of each picture; empty dicts where there is no manifest.
        guided: whether classifier-free guidance doubles the UNet's batch.
        step: index of the UNet's current call, −1 before the first.
        timestep: that call's timestep, None before the first.
    """

    pipeline: Any
    prompts: list[str]
    negative_prompts: list[str]
    seeds: list[int]
    records: list[dict]
    guided: bool
    step: int = -1
    timestep: Tensor | None = None

    @cached_property
    def conditional_rows(self) -> Tensor:
        """Bool, over the UNet's batch: (2B,) with guidance, [unconditional…, conditional…]; else (B,), all True."""
        conditional = torch.ones(len(self.prompts), dtype=torch.bool, device=self.pipeline.device)
        return torch.cat([~conditional, conditional]) if self.guided else conditional


class Intervention(Protocol):
    """A method at inference: what it changes, through which doors, how strongly (0 = not at all, 1 = as trained)."""

    strength: float = 1.0
    reads: tuple[str, ...] | None = None
    """What of a picture's record can change it, beside prompt and seed; None: anything may."""

    def swap_weights(self, context: Context) -> AbstractContextManager:
        """Put weights in on entering and take them out on leaving; entered once for all pictures, before the prompts
        are encoded, with the context of all of them."""
        return nullcontext()

    def edit_prompts(
        self, context: Context, conditional: PromptEmbeddings, unconditional: PromptEmbeddings
    ) -> tuple[PromptEmbeddings, PromptEmbeddings]:
        """Change the embeddings of both branches, (B, T, D) each; both must keep the same T. Never in place."""
        return conditional, unconditional

    def edit_latents(self, context: Context, latents: Tensor) -> Tensor:
        """Change the initial noise (B, C, h, w), of unit variance: the scheduler's own scale comes after."""
        return latents

    def hook(self, context: Context, unet: torch.nn.Module) -> AbstractContextManager:
        """Hook the UNet for the length of one pipeline call; its batch is that of `context.conditional_rows`."""
        return nullcontext()

    def end_of_step(self, context: Context, latents: Tensor) -> Tensor:
        """Change the latents (B, C, h, w) at the end of a step."""
        return latents

    @abstractmethod
    def describe(self) -> dict:
        """JSON that identifies the method, its weights and its options; two runs with equal descriptions are one."""


def load_intervention(spec: str, pipeline) -> Intervention:
    """Load the method that a command line names.

    Args:
        spec: `package:path?option=value&option=value`. The path and options go to that package's
            `load_intervention(path, *, pipeline, **options)`, options converted to the types annotated there; `%26`
            and the like stand for characters with a meaning in the spec.
        pipeline: the base to be changed.

    Raises:
        UserError: no such package, it holds no interventions, or an option is unknown, missing or of the wrong type.
    """
    load, path, options = resolve(spec, "load_intervention", reserved=("pipeline",))
    return load(path, pipeline=pipeline, **options)


def resolve(spec: str, function: str, reserved: tuple[str, ...] = ()) -> tuple[Callable, str, dict]:
    """Take `package:path?option=value&…` apart.

    Args:
        spec: as above.
        function: what the package must offer, e.g. "load_intervention".
        reserved: the function's parameters that are not options.

    Returns:
        The function, the path, and the options converted to the types of the function's annotations; as text for a
        function that takes `**options`.
    """
    location, _, query = spec.partition("?")
    package, _, path = location.partition(":")
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # no such parent, no name at all
        found = None
    if found is None:
        raise UserError(f"{spec!r}: there is no package {package!r}; the form is package:path?option=value")
    module = importlib.import_module(package)
    if not hasattr(module, function):
        raise UserError(f"{spec!r}: the package {package!r} has no {function}")
    load = getattr(module, function)
    given = dict(parse_qsl(query, keep_blank_values=True))
    parameters = inspect.signature(load).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return load, path, given  # what options there are depends on the path: the function looks at them itself
    first, *_ = parameters  # the path
    return load, path, typed_options(load, given, spec, reserved=(first, *reserved))


def typed_options(load: Callable, given: Mapping[str, str], spec: str, reserved: Sequence[str] = ()) -> dict[str, Any]:
    """The options of a spec, converted to the types of the function's annotations.

    Args:
        load: takes them as keyword arguments.
        given: option → text.
        spec: what the errors name.
        reserved: the function's parameters that are not options.

    Raises:
        UserError: an option is unknown, missing or of the wrong type.
    """
    parameters = {n: p for n, p in inspect.signature(load).parameters.items() if n not in reserved}
    options = {}
    for name, text in given.items():
        if name not in parameters:
            known = ", ".join(parameters) or "none"
            raise UserError(f"{spec!r} has no option {name!r} (options: {known})")
        try:
            options[name] = TypeAdapter(parameters[name].annotation).validate_python(text)
        except ValidationError as error:
            raise UserError(f"{spec!r}: option {name!r}: {error.errors()[0]['msg']}") from None
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            raise UserError(f"{spec!r} needs the option {name!r}")
    return options
