"""MaPO: pairs without a reference (Hong et al. 2024)."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from diffusion_base.arguments import Positive
from preference_finetuning.objective import Errors, Loss, Traits, saturated

TRAITS = Traits("pairs")


def loss(errors: Errors, *, beta: Positive = 0.1, snr: Positive = 0.5, timesteps: Positive = 1000.0) -> Loss:
    """L_w − β log σ(T [f(L_w) − f(L_l)]) with f(L) = sL / (e^{sL} − 1), (B,).

    Args:
        snr: s, the signal-to-noise ratio that the published code holds constant.
        timesteps: T.
    """
    rewards = timesteps * over_expm1(snr * errors.policy)
    rewards_w, rewards_l = rewards.chunk(2)
    odds = rewards_w - rewards_l
    figures = {"reward": rewards.detach(), "saturated": saturated(logsigmoid, odds)}
    return errors.policy.chunk(2)[0] - beta * logsigmoid(odds), figures


def over_expm1(x: Tensor) -> Tensor:
    """x / (eˣ − 1) of x ≥ 0, its value and its slope exact to float32's last digits, at 0 and where eˣ overflows."""
    small = x < 0.01
    away = x.where(~small, 1.0)  # so that no branch's gradient is NaN
    exact = away * torch.exp(-away) / -torch.expm1(-away)
    near = x.where(small, 0.0)
    series = 1 - near / 2 + near.square() / 12
    return torch.where(small, series, exact)
