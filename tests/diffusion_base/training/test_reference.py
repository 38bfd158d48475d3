"""The reference is the base, bit for bit: a LoRA switched off beside one that stays, and a copy of a whole denoiser."""

import pytest
import torch
from peft import LoraConfig

from diffusion_base.conditioning import encode_prompts
from diffusion_base.families import family_of
from diffusion_base.generation import generate
from diffusion_base.training.reference import Reference
from tests.tiny import tiny_pipeline


def add_lora(pipeline, name):
    """A LoRA that changes the pictures: its second half is no longer zero."""
    torch.manual_seed(len(name))
    pipeline.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"]), adapter_name=name)
    for parameter in of(pipeline, name):
        torch.nn.init.normal_(parameter)


def of(pipeline, name):
    return [parameter for key, parameter in pipeline.unet.named_parameters() if f".{name}." in key]


def predict(pipeline):
    x_t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    text = encode_prompts(pipeline, ["a nurse", "a cat"])
    return family_of(pipeline).predict(pipeline, x_t, torch.tensor([10, 700]), text)


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_the_trained_adapter_alone_is_off():
    """The user's stays on and untrained; the policy's graph, made before the reference's pass, keeps its gradients."""
    pipeline = tiny_pipeline()
    add_lora(pipeline, "user")
    base = predict(pipeline).detach()
    add_lora(pipeline, "policy")
    pipeline.unet.set_adapters(["user", "policy"])
    for parameter in of(pipeline, "user"):
        parameter.requires_grad_(False)
    reference = Reference(pipeline, "policy")
    policy = predict(pipeline)
    with torch.no_grad(), reference():
        assert torch.equal(predict(pipeline), base)
    assert torch.equal(predict(pipeline), policy) and not torch.allclose(policy, base)
    assert all(parameter.requires_grad for parameter in of(pipeline, "policy"))
    assert not any(parameter.requires_grad for parameter in of(pipeline, "user"))
    policy.square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in of(pipeline, "policy"))
    with pytest.raises(ValueError, match="no adapter 'other' is active"):
        Reference(pipeline, "other")


def test_whole_modules_that_an_adapter_trains_are_off_too():
    pipeline = tiny_pipeline()
    base = predict(pipeline)
    lora = LoraConfig(r=2, target_modules=["to_q"], modules_to_save=["conv_out"])
    pipeline.unet.add_adapter(lora, adapter_name="policy")
    reference = Reference(pipeline, "policy")
    with torch.no_grad():
        (copy,) = pipeline.unet.conv_out.modules_to_save.values()
        copy.bias.add_(1)  # as if trained
        with reference():
            assert torch.equal(predict(pipeline), base)
        torch.testing.assert_close(predict(pipeline), base + 1)


def test_a_whole_denoisers_copy_is_from_before():
    pipeline, options = tiny_pipeline(), {"num_inference_steps": 2, "progress": False}
    reference = Reference(pipeline)
    low = Reference(pipeline, dtype=torch.bfloat16)
    base, pictures = predict(pipeline), generate(pipeline, ["a nurse"], [0], **options)
    trained = pipeline.unet.requires_grad_(True)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(1.5)
    with reference():
        assert torch.equal(predict(pipeline), base)  # and with it no graph: nothing of the copy is trained
        assert generate(pipeline, ["a nurse"], [0], **options) == pictures
    with low():
        assert predict(pipeline).dtype == torch.bfloat16
        torch.testing.assert_close(predict(pipeline).float(), base, atol=0.02, rtol=0.05)
    assert pipeline.unet is trained and not torch.allclose(predict(pipeline), base, atol=0.1)
    assert generate(pipeline, ["a nurse"], [0], **options) != pictures


def test_an_error_inside_leaves_the_policy_in_place():
    pipeline = tiny_pipeline()
    reference, unet = Reference(pipeline), pipeline.unet
    with pytest.raises(RuntimeError), reference():
        raise RuntimeError
    assert pipeline.unet is unet
