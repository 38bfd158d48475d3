"""Each optimizer, its groups, and its state in a checkpoint."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from diffusion_base.errors import UserError
from diffusion_base.training import arguments, optimizers
from diffusion_base.training.optimizers import build_optimizer, read_state, restore_state
from tests.diffusion_base.toy import run_toy, toy_arguments, weights

CPU = torch.device("cpu")


class EightBitAdam(torch.optim.AdamW):
    """Like bitsandbytes' AdamW8bit: one table for all parameters, a Python number, and a state_dict that hides them."""

    def __init__(self, groups, **options):
        super().__init__(groups, **options)
        self.table = torch.linspace(-1, 1, 256)

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                own = self.state[parameter]
                own |= {"qmap": self.table, "count": own.get("count", 0) + 1}

    def state_dict(self):
        whole = super().state_dict()
        return whole | {"state": {number: {"hidden": values} for number, values in whole["state"].items()}}


@pytest.fixture(autouse=True)
def bitsandbytes(monkeypatch):
    monkeypatch.setattr(arguments, "use_cpu", lambda: False)  # without a GPU nothing is kept in 8 bits
    monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", SimpleNamespace(AdamW8bit=EightBitAdam))


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit", "adafactor"])
def test_each_is_continued_bit_for_bit(tmp_path, optimizer):
    options = {"optimizer": optimizer, "lr_scheduler": "constant", "checkpointing_steps": 2}
    run_toy(tmp_path / "whole", max_train_steps=4, **options)
    run_toy(tmp_path / "parts", max_train_steps=2, **options)
    run_toy(tmp_path / "parts", max_train_steps=4, resume_from_checkpoint="latest", **options)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole") != weights(tmp_path / "whole" / "checkpoint-2")
    last = "checkpoint-4/optimizer.safetensors"
    assert (tmp_path / "parts" / last).read_bytes() == (tmp_path / "whole" / last).read_bytes()


def test_adafactor_keeps_rows_and_columns_and_steps_by_the_given_size(tmp_path):
    """The first step is of every entry g / sqrt(its factored square), clipped to a mean square of 1, times the rate.

    For a matrix of rank one, as here, the factored square is the square itself, so each entry moves by ± the rate.
    """
    matrix = nn.Parameter(torch.ones(3, 2))
    optimizer = build_optimizer(
        [{"params": [matrix]}],
        toy_arguments(tmp_path, optimizer="adafactor", learning_rate=0.1, adam_weight_decay=0),
        samples_per_step=1,
        device=CPU,
    )
    matrix.grad = torch.tensor([[1.0], [2], [3]]) * torch.tensor([1.0, -1])
    optimizer.step()
    torch.testing.assert_close(matrix.detach(), 1 - 0.1 * torch.tensor([[1.0, -1]]).expand(3, 2))
    sizes = {name: tuple(tensor.shape) for name, tensor in read_state(optimizer)[0].items()}
    assert sizes["0.exp_avg_sq_row"] == (3,) and sizes["0.exp_avg_sq_col"] == (2,)


def test_groups_have_their_own_rates(tmp_path):
    one, two = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    groups = [{"params": [one]}, {"params": [two], "lr": 0.5, "weight_decay": 0.0}]
    arguments = toy_arguments(tmp_path, learning_rate=0.01, scale_lr=True)
    optimizer = build_optimizer(groups, arguments, samples_per_step=4, device=CPU)
    assert [(group["params"], group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [
        ([one], 0.04, 0.01),
        ([two], 2.0, 0.0),
    ]
    for parameter in (one, two):
        parameter.grad = torch.ones(2)
    optimizer.step()
    state, numbers = read_state(optimizer)
    for group, rate in zip(optimizer.param_groups, (1.0, 2.0), strict=True):
        group["initial_lr"] = group["lr"] = rate
    again = build_optimizer(groups, arguments, samples_per_step=4, device=CPU)
    restore_state(again, state | numbers, optimizer.param_groups)
    assert [group["lr"] for group in again.param_groups] == [1.0, 2.0]
    assert again.state[two]["exp_avg"].equal(optimizer.state[two]["exp_avg"])


def test_fused_only_on_a_gpu_and_never_where_fp16_skips_steps(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(optimizers, "AdamW", lambda groups, **options: made.append(options["fused"]))
    groups = [{"params": [nn.Parameter(torch.zeros(1))]}]
    for device, precision in (("cpu", "bf16"), ("cuda", "bf16"), ("cuda", "fp16")):
        told = SimpleNamespace(**vars(toy_arguments(tmp_path)), precision=precision, eight_bits=False)
        build_optimizer(groups, told, samples_per_step=1, device=torch.device(device))
    assert made == [None, True, None]


def test_what_cannot_be_is_said(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="choose one of the two"):
        toy_arguments(tmp_path, use_8bit_adam=True, optimizer="adafactor")
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    for flags in ({"use_8bit_adam": True}, {"optimizer": "adamw_8bit"}):
        with pytest.raises(UserError, match="--optimizer adamw_8bit needs bitsandbytes"):
            run_toy(tmp_path, **flags)
