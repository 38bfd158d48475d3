"""What training saves is what the weights' door opens: the policy's own predictions, with the base put back after."""

import json

import pytest
import torch

from diffusion_base.conditioning import encode_prompts
from diffusion_base.families import family_of
from diffusion_base.intervention import load_intervention
from diffusion_base.weights.intervention import put_in
from tests.preference_finetuning.test_task import make_task
from tests.tiny import tiny_pipeline


@torch.no_grad()
def predict(pipeline):
    x_t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    text, size = encode_prompts(pipeline, ["a nurse", "a cat"]), torch.tensor([[32, 32, 0, 0, 32, 32]] * 2)
    return family_of(pipeline).predict(pipeline, x_t, torch.tensor([10, 700]), text, size)


@pytest.mark.parametrize("kind, targets", [("sd1", None), ("sd1", ("to_q", "conv1")), ("sdxl", ("to_out.0",))])
def test_a_run_is_opened(kind, targets, tmp_path):
    """LoRAs with alpha / rank = 2, on linear layers and convolutions; and a whole UNet."""
    task = make_task(kind=kind, lora=targets is not None, targets=targets)
    task.save(tmp_path)
    (tmp_path / "training.json").write_text(json.dumps({"base_hash": task.base_hash}))
    policy, pipeline = predict(task.pipeline), tiny_pipeline(kind)
    base = predict(pipeline)
    weights = load_intervention(f"preference_finetuning:{tmp_path}", pipeline)
    assert not weights.matched.unused and "warning" not in weights.describe()
    with put_in(pipeline, weights.matched.edits, 1.0):
        torch.testing.assert_close(predict(pipeline), policy, rtol=0, atol=1e-5)
    assert predict(pipeline).equal(base) and not torch.allclose(policy, base, atol=1e-3)
