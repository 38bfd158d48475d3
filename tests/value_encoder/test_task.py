"""The training task against the published formula, spelled out in four passes, and what it trains and saves."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from diffusion_base.errors import UserError
from diffusion_base.noising import draw_noise, draw_timesteps
from tests.tiny import tiny_pipeline
from value_encoder.inference import ValueToken
from value_encoder.task import LiVOTask

SETTINGS = {"beta": 30.0, "alpha": 15.0, "gamma1": 1.0, "gamma2": 0.5}
PROMPTS = ["a nurse", "a doctor", "a cat", "a nurse"]
VALUES = ["gender equality", "racial equality", "gender equality", "racial equality"]


def make_task(kind="sd1", **options):
    """A task whose value encoder has moved away from the text encoder, so that no term of the loss is at its start."""
    task = LiVOTask(tiny_pipeline(kind), **SETTINGS, **options)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in task.value_encoder.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return task


def test_another_prediction_type_is_another_target():
    losses = [make_task(prediction_type=kind)(make_batch())[0] for kind in (None, "epsilon", "v_prediction")]
    assert torch.equal(losses[0], losses[1]) and not torch.allclose(losses[0], losses[2])


def make_batch():
    torch.manual_seed(2)
    preferred, dispreferred = torch.randn(2, 4, 4, 8, 8)
    indices, steps = torch.tensor([5, 0, 2, 9]), torch.full((4,), 3)
    return {
        "preferred": preferred,
        "dispreferred": dispreferred,
        "prompt": PROMPTS,
        "value": VALUES,
        "step": steps,
        "index": indices,
    }


def encode(model, tokenizer, texts):
    inputs = tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
    return model(inputs.input_ids)


def four_passes(task, batch, snr_gamma):
    """LiVO's published loss of a batch: one UNet pass for each of θ(w), θ(l), ref(w), ref(l)."""
    unet, text_encoder = task.frozen["unet"], task.frozen["text_encoder"]
    alpha_bar = task.process.scheduler.alphas_cumprod
    velocity = task.process.scheduler.config.prediction_type == "v_prediction"
    noise = draw_noise((4, 8, 8), task.seed, batch["step"], batch["index"])
    t = draw_timesteps(1000, task.seed, batch["step"], batch["index"])
    signal, sigma = (x[:, None, None, None].sqrt() for x in (alpha_bar[t], 1 - alpha_bar[t]))
    prompt = encode(text_encoder, task.tokenizer, PROMPTS).last_hidden_state
    valued = [f"{value}, {text}" for value, text in zip(VALUES, PROMPTS, strict=True)]
    token = encode(task.value_encoder, task.tokenizer, valued).pooler_output
    with_token = torch.cat([token[:, None], prompt[:, :76]], dim=1)
    weight = 1.0
    if snr_gamma is not None:
        snr = alpha_bar[t] / (1 - alpha_bar[t])
        weight = torch.minimum(snr, torch.full_like(snr, snr_gamma)) / snr + float(velocity)

    def error(latents, conditioning):
        goal = signal * noise - sigma * latents if velocity else noise
        prediction = unet(signal * latents + sigma * noise, t, conditioning).sample
        return weight * (prediction - goal).square().mean(dim=(1, 2, 3))

    w, l = batch["preferred"], batch["dispreferred"]  # noqa: E741, the paper's names
    first = 1.0 + 30.0 * (error(w, with_token) - error(w, prompt))
    second = 0.5 + 15.0 * (error(l, prompt) - error(l, with_token))
    return first.clamp(min=0) + second.clamp(min=0)


@pytest.mark.parametrize("snr_gamma", [None, 5.0])
@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_parity_with_the_published_four_passes(kind, snr_gamma):
    """Loss and gradient to relative 1e-5 in float32: epsilon and velocity, with and without min-SNR."""
    task, batch = make_task(kind, snr_gamma=snr_gamma), make_batch()
    parameters = list(task.value_encoder.parameters())
    published = four_passes(task, batch, snr_gamma)
    expected = torch.autograd.grad(published.mean(), parameters)
    loss, metrics = task(batch)
    gradient = torch.autograd.grad(loss.mean(), parameters)

    assert metrics["satisfied"].mean() < 1 and published.min() != published.max()
    torch.testing.assert_close(loss, published, rtol=1e-5, atol=0)
    expected, gradient = (torch.cat([each.flatten() for each in many]) for many in (expected, gradient))
    assert (gradient - expected).norm() <= 1e-5 * expected.norm()


def test_nothing_but_the_value_encoder_is_trained():
    task, batch = make_task(), make_batch()
    task(batch)[0].mean().backward()
    trained = {name for name, parameter in task.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in task.named_parameters() if name.startswith("value_encoder.")}
    assert trained == {name for name, parameter in task.named_parameters() if parameter.requires_grad}


def test_untrained_token_is_the_text_encoders_own():
    """A fresh task starts from a copy of the text encoder: training must not touch the original."""
    task = LiVOTask(tiny_pipeline(), **SETTINGS)
    copies = zip(task.value_encoder.parameters(), task.frozen["text_encoder"].parameters(), strict=True)
    assert all(torch.equal(copy, original) and copy is not original for copy, original in copies)


def test_metrics_are_per_pair_and_detached():
    loss, metrics = make_task()(make_batch())
    assert loss.shape == (4,)
    assert set(metrics) == {
        "hinge_preferred",
        "hinge_dispreferred",
        "satisfied",
        "drift_preferred",
        "drift_dispreferred",
        "implicit_accuracy",
        "drift",
    }
    assert all(value.shape == (4,) and not value.requires_grad for value in metrics.values())
    assert (metrics["drift"] > 0).all()


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        task = make_task(gradient_checkpointing=checkpointing).train()
        task(make_batch())[0].mean().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in task.value_encoder.parameters()]))
    torch.testing.assert_close(*gradients)


def test_pixels_are_encoded_live():
    task, batch = make_task(live=True), make_batch()
    batch["preferred"], batch["dispreferred"] = torch.rand(2, 4, 3, 32, 32) * 2 - 1
    loss, _ = task(batch)
    assert torch.equal(loss, task(batch)[0]) and loss.isfinite().all()


def test_half_precision_keeps_the_value_encoder_whole():
    task = make_task(frozen_dtype=torch.bfloat16)
    assert {p.dtype for p in task.value_encoder.parameters()} == {torch.float32}
    assert {p.dtype for p in task.frozen.parameters()} == {torch.bfloat16}
    assert task.base_hash == make_task().base_hash
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = task(make_batch())
    assert loss.dtype == torch.float32


def test_saves_what_transformers_opens_alone(tmp_path):
    task = make_task()
    task.save(tmp_path)
    encoder = CLIPTextModel.from_pretrained(tmp_path / "value_encoder")
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "value_encoder")
    ids = tokenizer("gender equality, a nurse", return_tensors="pt").input_ids
    assert torch.equal(encoder(ids).pooler_output, task.value_encoder(ids).pooler_output)
    ValueToken(tmp_path, "gender equality", pipeline=tiny_pipeline())
    with pytest.raises(UserError, match="learned on another base"):
        ValueToken(tmp_path, "gender equality", pipeline=tiny_pipeline(seed=1))
    # the names that every version of transformers knows
    assert all(name.startswith("text_model.") for name in load_file(tmp_path / "value_encoder/model.safetensors"))


def test_sdxl_is_refused():
    with pytest.raises(UserError, match="XL has several"):
        LiVOTask(tiny_pipeline("sdxl"), **SETTINGS)
