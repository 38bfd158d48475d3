"""Float32 attention under autocast: exact where it applies, and nowhere else."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as attention

from diffusion_base.training.cpu_attention import Float32Attention, fast_attention


def tensors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 2, 8, 4, generator=generator).requires_grad_() for _ in range(3)]


def test_it_is_float32s_result_in_autocasts_precision():
    query, key, value = tensors()
    exact = attention(query, key, value)
    with Float32Attention(), torch.autocast("cpu", torch.bfloat16):
        found = attention(query, key, value=value)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(attention(query, key, value), found)  # else the test above would show nothing


def test_gradients_are_float32s():
    (query, key, value), others = tensors(), tensors()
    with Float32Attention(), torch.autocast("cpu", torch.bfloat16):
        attention(query, key, value).float().sum().backward()
    attention(*others).bfloat16().float().sum().backward()
    for found, exact in zip((query, key, value), others, strict=True):
        assert torch.equal(found.grad, exact.grad)


def test_without_gradients_autocast_decides():
    query, key, value = tensors()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        usual = attention(query, key, value)
        with Float32Attention():
            assert torch.equal(attention(query, key, value), usual)


@pytest.mark.parametrize(
    ("precision", "checkpointing", "pays"), [("bf16", False, True), ("bf16", True, False), ("no", False, False)]
)
def test_where_it_is_used(precision, checkpointing, pays):
    on_cpu = SimpleNamespace(device=torch.device("cpu"), mixed_precision=precision)
    assert isinstance(fast_attention(on_cpu, checkpointing), Float32Attention) is pays
