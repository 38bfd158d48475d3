"""The training task against the paper's loss spelled out, what carries a graph, and what is trained and saved."""

import pytest
import torch

from concept_vectors.task import ConceptTask
from concept_vectors.vectors import load_vectors
from diffusion_base.conditioning import encode_prompts
from diffusion_base.errors import UserError
from diffusion_base.noising import draw_noise, draw_timesteps
from tests.tiny import tiny_pipeline

CONCEPTS = ["woman", "man", "young"]
SHOWN = [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
PROMPTS = ["a person", "a person", "a face"]


def make_task(kind="sd1", **options):
    """A task whose vectors are no longer zero."""
    task = ConceptTask(tiny_pipeline(kind), CONCEPTS, **options)
    with torch.no_grad():
        task.vectors.copy_(torch.randn(task.vectors.shape, generator=torch.Generator().manual_seed(1)))
    return task


def make_batch():
    return {
        "picture": torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(2)),
        "concepts": torch.tensor(SHOWN, dtype=torch.float32),
        "prompt": PROMPTS,
        "step": torch.full((3,), 3),
        "index": torch.tensor([5, 0, 2]),
    }


@pytest.mark.parametrize("snr_gamma", [None, 5.0])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_parity_with_the_papers_loss(kind, per_channel, snr_gamma):
    """Picture by picture, with a plain hook and a graph through everything: loss and gradient to relative 1e-5."""
    task, batch = make_task(kind, per_channel=per_channel, snr_gamma=snr_gamma), make_batch()
    pipeline = tiny_pipeline(kind)
    alpha_bar, velocity = task.process.scheduler.alphas_cumprod, kind == "sd2"
    noise = draw_noise((4, 8, 8), 0, batch["step"], batch["index"])
    t = draw_timesteps(1000, 0, batch["step"], batch["index"])
    vectors = task.vectors.detach().clone().requires_grad_(True)
    losses = []
    for i, prompt in enumerate(PROMPTS):
        c = sum(vectors[CONCEPTS.index(name)] for name, shown in zip(CONCEPTS, SHOWN[i], strict=True) if shown)
        x, signal, sigma = batch["picture"][i : i + 1], alpha_bar[t[i]].sqrt(), (1 - alpha_bar[t[i]]).sqrt()
        goal = signal * noise[i] - sigma * x if velocity else noise[i]
        text = encode_prompts(pipeline, [prompt])
        added = {"text_embeds": text.pooled, "time_ids": torch.tensor([[32, 32, 0, 0, 32, 32]])}
        handle = pipeline.unet.mid_block.register_forward_hook(lambda _m, _i, h, c=c: h + c)
        noisy = (signal * x + sigma * noise[i]).requires_grad_(True)
        prediction = pipeline.unet(noisy, t[i], text.embeds, added_cond_kwargs=added).sample
        handle.remove()
        snr = (signal / sigma) ** 2
        weight = 1.0 if snr_gamma is None else min(snr, snr_gamma) / snr + velocity
        losses.append(weight * (prediction - goal).square().mean())
    expected = torch.stack(losses)
    expected_gradient = torch.autograd.grad(expected.mean(), vectors)[0]

    loss, _ = task(batch)
    gradient = torch.autograd.grad(loss.mean(), task.vectors)[0]
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert (gradient - expected_gradient).norm() <= 1e-5 * expected_gradient.norm() and gradient.norm() > 0


def test_only_the_way_up_carries_a_graph():
    task = make_task()
    unet, graphs = task.frozen["unet"], {}
    parts = {"down": unet.down_blocks[0], "middle": unet.mid_block.resnets[-1], "up": unet.up_blocks[0]}
    for name, part in parts.items():

        def note(_module, _inputs, output, name=name):
            graphs[name] = (output[0] if isinstance(output, tuple) else output).requires_grad

        part.register_forward_hook(note)
    task(make_batch())
    assert graphs == {"down": False, "middle": False, "up": True}


def test_nothing_but_the_vectors_is_trained():
    task = make_task()
    task(make_batch())[0].mean().backward()
    trained = {name for name, parameter in task.named_parameters() if parameter.grad is not None}
    assert trained == {"vectors"} == {name for name, p in task.named_parameters() if p.requires_grad}
    assert not task.frozen["unet"].mid_block._forward_hooks


def test_a_concept_learns_from_its_own_pictures_alone():
    task, batch = make_task(), make_batch()
    loss, _ = task(batch)
    of_second = torch.autograd.grad(loss[1], task.vectors)[0]  # a man
    assert [of_second[i].abs().sum() > 0 for i in range(3)] == [False, True, False]


def test_untrained_vectors_are_the_base():
    task = ConceptTask(tiny_pipeline(), CONCEPTS)
    assert torch.count_nonzero(task.vectors) == 0
    batch = make_batch()
    _, metrics = task(batch)
    assert set(metrics) == {"error", "shift"} and metrics["shift"].tolist() == [0, 0, 0]
    assert all(value.shape == (3,) and not value.requires_grad for value in metrics.values())


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        task = make_task(gradient_checkpointing=checkpointing).train()
        task(make_batch())[0].mean().backward()
        gradients.append(task.vectors.grad)
    torch.testing.assert_close(*gradients)


def test_pixels_are_encoded_live():
    task, batch = make_task(live=True), make_batch()
    batch["picture"] = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    loss, _ = task(batch)
    assert torch.equal(loss, task(batch)[0]) and loss.isfinite().all()


def test_half_precision_keeps_the_vectors_whole():
    task = make_task(frozen_dtype=torch.bfloat16)
    assert task.vectors.dtype == torch.float32 and task.base_hash == make_task().base_hash
    assert {p.dtype for p in task.frozen.parameters()} == {torch.bfloat16}
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = task(make_batch())
    loss.mean().backward()
    assert loss.dtype == task.vectors.grad.dtype == torch.float32


@pytest.mark.parametrize("per_channel", [False, True])
def test_saves_a_tensor_a_concept(tmp_path, per_channel):
    task = make_task(per_channel=per_channel, facts={"pictures": 3})
    task.save(tmp_path)
    vectors = load_vectors(tmp_path, tiny_pipeline())
    assert list(vectors.tensors) == sorted(CONCEPTS) and vectors.training == {"pictures": 3}
    expected = task.vectors[1].flatten() if per_channel else task.vectors[1]
    assert torch.equal(vectors.tensors["man"], expected)


def test_full_shapes_belong_to_the_bases_own_size():
    assert ConceptTask(tiny_pipeline(), CONCEPTS, resolution=64, per_channel=True).vectors.shape == (3, 16, 1, 1)
    with pytest.raises(UserError, match="--resolution 64: .* base's own 32 pixels"):
        ConceptTask(tiny_pipeline(), CONCEPTS, resolution=64)
