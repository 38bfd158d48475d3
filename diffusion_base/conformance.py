"""What every method's interventions must keep to, as one check for a method's own tests.

from diffusion_base.conformance import check_conformance

def test_conformance(pipeline):
    check_conformance(lambda: Mine("runs/mine", pipeline=pipeline), pipeline)
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.nn import Module

from diffusion_base.generation import generate
from diffusion_base.identity import tensor_hash
from diffusion_base.intervention import Intervention
from diffusion_base.pipeline import Pipeline
from diffusion_base.sampling import Sampler

PROMPTS = ("a photo of a nurse", "a photo of a cat", "a photo of a nurse", "a pilot")
ROUNDING = 1  # of 255: arithmetic differs by about 1e-6 between batch sizes


def check_conformance(
    make: Callable[[], Intervention],
    pipeline: Pipeline,
    others: Sequence[Callable[[], Intervention]] = (),
    *,
    prompts: Sequence[str] = PROMPTS,
    records: Sequence[dict] | None = None,
    dealt: bool = False,
) -> None:
    """Check that strength 0 is the base; that the base is left as it was, after a failure too; that the description is
    JSON and decides the pictures; and that these don't depend on their batch, nor on what was made before.

    Args:
        make: the intervention, anew at each call.
        pipeline: a small base, e.g. `assets/miniature`.
        others: the same with one option changed each; the description must tell them all apart.
        prompts, records: of two pictures or more, of which the method changes some.
        dealt: what a picture gets depends on the whole set on purpose, so its place and its neighbours count; how the
            set is cut into batches never does.

    Raises:
        AssertionError: naming what it doesn't keep to.
    """
    pictures = _Pictures(pipeline, list(prompts), [{} for _ in prompts] if records is None else list(records))
    name = type(make()).__name__

    def demand(kept: bool, problem: str) -> None:
        if not kept:
            raise AssertionError(f"{name}: {problem}")

    def at(share: float) -> Intervention:
        method = make()
        method.strength *= share
        return method

    def describe(method: Intervention) -> str:
        try:
            return json.dumps(method.describe(), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"{name}: its description is no JSON ({error})") from None

    base, untouched = pictures(), _state_of(pipeline)

    def check_base(when: str) -> None:
        now = _state_of(pipeline)
        changed = sorted(key for key in untouched.keys() | now.keys() if untouched.get(key) != now.get(key))
        demand(not changed, f"{when} the base is not what it was: {', '.join(changed[:3])}")

    method = make()
    description, made = describe(method), pictures(method)
    check_base("after use")
    demand(_differ(made, base), "it changes none of these pictures, so they show nothing; give others")
    demand(not _differ(pictures(at(0)), base), "at strength 0 the pictures are not the base's, bit for bit")
    demand(_differ(pictures(at(0.5)), made), "setting its strength changes nothing")

    demand(describe(method) == description, "its description changes with use")
    demand(describe(make()) == description, "two that are alike are described differently")
    demand(not _differ(pictures(make()), made), "two of one description make different pictures")
    told = [description, describe(at(0.5)), *(describe(other()) for other in others)]
    alike = {one for i, one in enumerate(told) if one in told[:i]}
    demand(not alike, f"its description is the same for another strength or option: {', '.join(alike)}")

    demand(not _differ(pictures(make(), batch_size=1), made, ROUNDING), "a picture depends on its batch")
    rows = range(len(prompts))[:0:-1]  # without the first, backwards
    if not dealt:
        part = pictures(make(), rows=rows)
        demand(not _differ(part, made[rows], ROUNDING), "a picture depends on what is made beside it")

    pictures(method, rows=rows)
    pictures.sampler([method]).begin()  # the first of two beginnings
    demand(not _differ(pictures(method), made), "something of an earlier set or beginning is left")

    for door in ("edit_prompts", "hook", "end_of_step"):
        try:
            pictures(make(), _Failing(door))
        except _Failure:
            check_base(f"after a failure in another's {door}")


@dataclass(frozen=True)
class _Pictures:
    pipeline: Pipeline
    prompts: list[str]
    records: list[dict]

    def __call__(self, *methods: Intervention, rows: Sequence[int] | None = None, batch_size: int = 8) -> np.ndarray:
        """(rows, H, W, 3)"""
        prompts, seeds, records = self.of(rows)
        options: dict[str, Any] = {"num_inference_steps": 2, "batch_size": batch_size, "progress": False}
        images = generate(self.pipeline, prompts, seeds, methods, records=records, **options)
        return np.stack(images).astype(int)

    def sampler(self, methods: Sequence[Intervention]) -> Sampler:
        prompts, seeds, records = self.of()
        return Sampler(self.pipeline, prompts, seeds, methods, records)

    def of(self, rows: Sequence[int] | None = None) -> tuple[list[str], list[int], list[dict]]:
        chosen = range(len(self.prompts)) if rows is None else rows
        return [self.prompts[i] for i in chosen], [3 + i for i in chosen], [dict(self.records[i]) for i in chosen]


class _Failure(Exception):
    pass


class _Failing(Intervention):
    """Comes through a door and fails."""

    def __init__(self, door: str):
        self.door = door

    def edit_prompts(self, context, conditional, unconditional):
        self.pass_through("edit_prompts")
        return conditional, unconditional

    def hook(self, context, denoiser):
        self.pass_through("hook")
        return super().hook(context, denoiser)

    def end_of_step(self, context, latents):
        self.pass_through("end_of_step")
        return latents

    def pass_through(self, door: str) -> None:
        if door == self.door:
            raise _Failure

    def describe(self) -> dict:
        return {}


def _state_of(pipeline: Pipeline) -> dict[str, Any]:
    """All that may be left changed, by what to call it: weights and whether they are trained, modules with all that
    they have (attention processors, for instance), hooks, the scheduler."""
    found: dict[str, Any] = {"the scheduler's configuration": dict(pipeline.scheduler.config)}
    for component, part in pipeline.components.items():
        found[f"the {component}"] = part
        if not isinstance(part, Module):
            continue
        for name, module in part.named_modules():
            own = vars(module)
            found[f"what {component}.{name} has"] = {k: value for k, value in own.items() if not k.startswith("_")}
            found[f"the hooks of {component}.{name}"] = {k: list(v) for k, v in own.items() if k.endswith("_hooks")}
        for name, tensor in part.state_dict(keep_vars=True).items():
            found[f"{component}.{name}"] = (tensor.dtype, tensor.requires_grad, tensor_hash(tensor.detach()))
    return found


def _differ(some: np.ndarray, others: np.ndarray, by_more_than: int = 0) -> bool:
    return bool(np.abs(some - others).max() > by_more_than)
