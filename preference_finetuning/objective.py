"""What an objective is given, what it says of itself, and how a command line names one."""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from diffusion_base.errors import UserError
from preference_finetuning import losses

Needs: TypeAlias = Literal["labels", "pairs", "preferred", "scalars"]


@dataclass(frozen=True)
class Errors:
    """What a loss is given of N pictures, of B pairs N = 2B: all preferred ones, then all dispreferred ones.

    Attributes:
        policy: L_θ (N,), the denoising error, a mean over C, H, W, in float32.
        preferred: (N,), whether people prefer the picture.
        mean: over the samples of the step, of all processes: (N, …) → (…).
        reference: L_ref (N,), with the same noise and timestep; None without a reference.
        mismatched: L_ref − L_θ (N,) of the pictures under other pictures' prompts, for objectives that ask for it.
        reward: (N,), how much people liked the picture; of mere labels 1 and 0.
    """

    policy: Tensor
    preferred: Tensor
    mean: Callable[[Tensor], Tensor]
    reference: Tensor | None = None
    mismatched: Tensor | None = None
    reward: Tensor | None = None

    @property
    def improvement(self) -> Tensor:
        """L_ref − L_θ (N,): how much better than the reference the policy denoises."""
        assert self.reference is not None
        return self.reference - self.policy

    @property
    def sign(self) -> Tensor:
        """s (N,): +1 for a preferred picture, −1 for a dispreferred one."""
        return self.preferred.float() * 2 - 1


Loss: TypeAlias = tuple[Tensor, dict[str, Tensor]]
"""Each sample's loss, (N,) or of pairs (B,), and detached figures. These names mean the same everywhere: "reward" (N,),
"reference_point" and "saturated"."""


@dataclass(frozen=True)
class Traits:
    """What an objective asks for.

    Attributes:
        needs: preferred and dispreferred pictures; pairs of them; preferred ones alone; or pictures with rewards.
        reference: whether it compares with the frozen base.
        step_means: whether it takes a mean over the step.
        prefixes: what goes before the prompt of a preferred, and of a dispreferred picture.
    """

    needs: Needs
    reference: bool = False
    step_means: bool = False
    prefixes: tuple[str, str] = ("", "")


class Objective(Protocol):
    """The members of an objective's module."""

    TRAITS: Traits

    def loss(self, errors: Errors, **settings: Any) -> Loss:
        """Its keyword parameters are the settings that `--objective NAME?setting=value` can change."""


def objective(name: str) -> Objective:
    """The objective of that name.

    Raises:
        UserError: there is none.
    """
    if name not in names():
        raise UserError(f"--objective {name}: there is none of that name; there are {', '.join(names())}")
    module: Any = import_module(f"{losses.__name__}.{name}")
    return module


def names() -> list[str]:
    """The objectives there are."""
    return sorted(module.name for module in pkgutil.iter_modules(losses.__path__))


def saturated(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """1 where an elementwise function is less than a hundredth as steep as at 0, else 0: such samples teach nothing."""
    with torch.enable_grad():
        points = torch.stack([at.detach(), torch.zeros_like(at)]).requires_grad_()
        (slope,) = torch.autograd.grad(function(points).sum(), points)
    return (slope[0].abs() < slope[1].abs() / 100).float()
