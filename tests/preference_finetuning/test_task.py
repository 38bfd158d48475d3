"""The task against the formulas spelled out in single passes, what it trains and saves, and its two processes."""

import os

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from diffusion_base.errors import UserError
from diffusion_base.families import family_of
from diffusion_base.noising import draw_noise, draw_timesteps, per_sample_generator
from preference_finetuning.lora import ADAPTER, lora_config
from preference_finetuning.losses import csft, dpo, hinge, kto, kto_gp, mapo, reward_weighted, sft
from preference_finetuning.task import PreferenceTask
from tests.forked import in_two_processes
from tests.tiny import tiny_pipeline

PROMPTS = ["a nurse", "a doctor", "", "a cat"]
OTHERS = PROMPTS[1:] + PROMPTS[:1]


def make_task(
    objective=kto, settings=None, *, kind="sd1", lora=False, moved=True, targets=("to_q", "conv1"), **options
):
    """A task whose denoiser has moved away from the base."""
    pipeline = tiny_pipeline(kind)
    torch.manual_seed(1)
    config = lora_config(family_of(pipeline).denoiser(pipeline), 2, 4.0, targets) if lora else None
    task = PreferenceTask(pipeline, objective, settings or {}, lora=config, **options)
    with torch.no_grad():
        for parameter in task.parameters():
            if moved and parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    return task


def make_batch(pictures=1, samples=4):
    torch.manual_seed(2)
    pair = pictures == 2
    return {
        "pictures": torch.randn(4, pictures, 4, 8, 8)[:samples],
        "size": torch.tensor([40, 32, 4, 0, 32, 32]).expand(4, pictures, 6)[:samples],
        "prompt": PROMPTS[:samples],
        "preferred": torch.tensor([True, True, pair, pair])[:samples],
        "reward": torch.tensor([1.0, 1, 0, 0])[:samples],
        "step": torch.full((samples,), 3),
        "index": torch.tensor([5, 0, 2, 9])[:samples],
    }


def single_errors(task, batch, *, seed=0, within=None, snr_gamma=None, prompts=PROMPTS, base=False):
    """L (n·B,) of pictures that the first ones precede, one pass a picture, without the kit's functions."""
    pipeline, alpha_bar = task.pipeline, task.process.scheduler.alphas_cumprod
    velocity = task.process.scheduler.config.prediction_type == "v_prediction"
    unet = tiny_pipeline("sd2" if velocity else "sd1").unet if base else task.denoiser
    steps, indices = batch["step"], batch["index"]
    noise = draw_noise((4, 8, 8), seed, steps, indices)
    low, high = within or (0, 1000)
    timesteps = low + draw_timesteps(high - low, seed, steps, indices)
    found = []
    for n in range(batch["pictures"].shape[1]):
        for i, prompt in enumerate(prompts[: len(steps)]):
            t, x, eps = timesteps[i], batch["pictures"][i, n], noise[i]
            signal, sigma = alpha_bar[t].sqrt(), (1 - alpha_bar[t]).sqrt()
            ids = pipeline.tokenizer([prompt], padding="max_length", max_length=77, return_tensors="pt").input_ids
            text = pipeline.text_encoder(ids).last_hidden_state
            prediction = unet((signal * x + sigma * eps)[None], t[None], text).sample[0]
            goal = signal * eps - sigma * x if velocity else eps
            snr = alpha_bar[t] / (1 - alpha_bar[t])
            weight = 1.0 if snr_gamma is None else min(snr, snr_gamma) / snr + velocity
            found.append(weight * (prediction - goal).square().mean())
    return torch.stack(found)


@pytest.mark.parametrize(("kind", "snr_gamma"), [("sd1", None), ("sd2", 5.0)])
def test_parity_with_dpos_published_formula(kind, snr_gamma):
    """Loss and gradient to relative 1e-5: both pictures of a pair share the noise and the timestep."""
    task, batch = make_task(dpo, {"beta": 50.0}, kind=kind, snr_gamma=snr_gamma), make_batch(pictures=2)
    policy, reference = (single_errors(task, batch, snr_gamma=snr_gamma, base=base) for base in (False, True))
    (w, l), (ref_w, ref_l) = policy.chunk(2), reference.chunk(2)  # noqa: E741, the paper's names
    published = -torch.nn.functional.logsigmoid(-25.0 * ((w - ref_w) - (l - ref_l)))
    parameters = list(task.denoiser.parameters())
    expected = torch.autograd.grad(published.mean(), parameters)
    loss, figures = task(batch)
    gradient = torch.autograd.grad(loss.mean(), parameters)
    torch.testing.assert_close(loss, published, rtol=2e-5, atol=1e-5)  # errors to 1e-7, times β/2
    expected, gradient = (torch.cat([each.flatten() for each in many]) for many in (expected, gradient))
    assert (gradient - expected).norm() <= 1e-5 * expected.norm()
    torch.testing.assert_close(figures["drift_dispreferred"][4:], (l - ref_l).detach(), rtol=1e-3, atol=1e-6)
    assert figures["drift_dispreferred"][:4].isnan().all() and (figures["drift"] > 0).all()


def test_parity_with_ktos_published_formula_with_mismatched_prompts():
    task, batch = make_task(kto, {"beta": 20.0, "bce_offset": "original"}), make_batch() | {"other_prompt": OTHERS}
    mismatched = {"prompts": OTHERS}
    improvement, other = (
        single_errors(task, batch, base=True, **more) - single_errors(task, batch, **more) for more in ({}, mismatched)
    )
    sign = torch.tensor([1.0, 1, -1, -1])
    published = 1 - torch.sigmoid(sign * 20.0 * (improvement - other.mean().detach()))
    loss, figures = task(batch)
    torch.testing.assert_close(loss, published, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(figures["reference_point"], 20.0 * other.mean().detach().expand(4), rtol=1e-4, atol=1e-6)


def test_several_timesteps_are_averaged_before_the_loss():
    """And come from their range; the first draw is what a single one would be."""
    task = make_task(sft, timesteps_per_sample=2, timestep_range=(200, 300))
    batch, second = make_batch(), per_sample_generator(0, 1, 0, "draw").initial_seed()
    draws = [single_errors(task, batch, seed=seed, within=(200, 300)) for seed in (0, second)]
    torch.testing.assert_close(task(batch)[0], sum(draws) / 2, rtol=1e-5, atol=1e-6)
    timesteps = task.noised(batch["pictures"][:, 0], [3] * 4, [5, 0, 2, 9]).t
    assert timesteps.shape == (8,) and timesteps.min() >= 200 and timesteps.max() < 300


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_where_nothing_was_trained_rewards_are_exactly_0(lora, precision):
    """Also in half precision, which the errors are compared in float32 after."""
    options = {"frozen_dtype": precision, "lora": lora, "moved": False}
    task = make_task(dpo, **options)
    if lora:
        with torch.no_grad():  # as the loop does
            for parameter in task.parameters():
                parameter.data = parameter.data.float() if parameter.requires_grad else parameter.data
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        loss, figures = task(make_batch(pictures=2))
    assert loss.dtype == torch.float32 and figures["implicit_accuracy"].eq(0.5).all()
    assert {p.dtype for p in task.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in task.parameters() if not p.requires_grad} == {precision}
    assert figures["drift"].eq(0).all() and figures["reward_preferred"][:4].eq(0).all()
    torch.testing.assert_close(loss, torch.full((4,), 0.5).log().neg())


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
@pytest.mark.parametrize("lora", [False, True])
def test_nothing_but_the_denoiser_or_its_lora_is_trained(kind, lora):
    targets = ("to_q",) if kind == "sd3" else ("to_q", "conv1")
    task = make_task(kto, kind=kind, lora=lora, targets=targets)
    task(make_batch())[0].mean().backward()
    trained = {name for name, parameter in task.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, parameter in task.named_parameters() if parameter.requires_grad}
    if lora:
        assert all(f".{ADAPTER}." in name for name in trained) and (kind == "sd3" or any("conv1" in n for n in trained))
    else:
        assert trained == {f"denoiser.{name}" for name, _ in task.denoiser.named_parameters()}
        assert all(p.grad is None and not p.requires_grad for p in task.reference.twin.parameters())


def test_xl_is_told_each_pictures_own_size():
    task, batch = make_task(sft, kind="sdxl"), make_batch()
    told = batch | {"size": batch["size"] * 20}
    assert not torch.allclose(task(batch)[0], task(told)[0], rtol=1e-4)
    assert torch.equal(make_task(sft)(batch)[0], make_task(sft)(told)[0])


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        task = make_task(mapo, gradient_checkpointing=checkpointing).train()
        task(make_batch(pictures=2))[0].mean().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in task.denoiser.parameters()]))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("objective", "pictures", "lora"),
    [(kto, 1, True), (dpo, 2, True), (hinge, 2, False), (mapo, 2, False)],
)
def test_steps_on_one_batch_put_it_in_order(objective, pictures, lora):
    """Preferred pictures' errors fall, or dispreferred ones' rise, until each is on its side."""
    task, batch = make_task(objective, {"beta": 100.0}, lora=lora, compare=True, moved=False), make_batch(pictures)
    parameters = [parameter for parameter in task.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=3e-3 if lora else 1e-3)
    for _ in range(30):
        optimizer.zero_grad()
        loss, figures = task(batch)
        loss.mean().backward()
        optimizer.step()
    drifts = [figures[f"drift_{side}"].nanmean() for side in ("preferred", "dispreferred")]
    assert drifts[0] < drifts[1] and (objective is mapo or figures["implicit_accuracy"].eq(1).all())


def test_figures_of_each_objective():
    def names(objective, pictures, **options):
        return set(make_task(objective, **options)(make_batch(pictures=pictures))[1])

    both = {f"{name}_{side}" for name in ("error", "reward") for side in ("preferred", "dispreferred")}
    drifts = {"drift_preferred", "drift_dispreferred", "drift"}
    assert names(dpo, 2) == both | drifts | {"implicit_accuracy", "saturated"}
    assert names(kto_gp, 1) == both | drifts | {"implicit_accuracy", "saturated", "reference_point"}
    assert names(mapo, 2) == both | {"implicit_accuracy", "saturated"}
    assert names(csft, 1, compare=True) == {"error_preferred", "error_dispreferred"} | drifts
    assert names(sft, 1) == {"error_preferred"}
    assert names(reward_weighted, 1) == {"error_preferred", "given_reward", "weight"}


@pytest.mark.parametrize("lora", [False, True])
def test_a_reference_that_follows(lora):
    """After 20 steps it has gone a tenth of the way; its state is continued. The base's own weights don't move."""
    options = {"lora": lora, "reference_momentum": 0.9, "moved": False}
    task, batch = make_task(dpo, **options), make_batch(pictures=2)
    trained = [parameter for parameter in task.parameters() if parameter.requires_grad]
    start = [parameter.detach().clone() for parameter in trained]
    with torch.no_grad():
        for parameter in trained:
            parameter += 0.1
        task.after_step(19)
        before = [tensor.clone() for tensor in task.state().values()]
        task.after_step(20)
    after = list(task.state().values())
    assert len(after) == len(trained) and all(torch.equal(a, b) for a, b in zip(before, start, strict=True))
    for moved, at, new in zip(after, start, trained, strict=True):
        torch.testing.assert_close(moved, at.lerp(new.detach(), 0.1))
    again = make_task(dpo, **options)
    with torch.no_grad():
        again.load_state(task.state())
        for parameter, value in zip([p for p in again.parameters() if p.requires_grad], trained, strict=True):
            parameter.copy_(value)
    assert torch.equal(again(batch)[0], task(batch)[0]) and task(batch)[1]["drift"].gt(0).all()


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_saves_what_diffusers_opens_alone(tmp_path, kind):
    whole, lora = make_task(kind=kind), make_task(kind=kind, lora=True)
    for task in (whole, lora):
        task.save(tmp_path)
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "unet")
    assert all(torch.equal(tensor, unet.state_dict()[name]) for name, tensor in whole.denoiser.state_dict().items())
    opened = tiny_pipeline(kind)
    opened.load_lora_weights(tmp_path)
    opened.unet.requires_grad_(False)
    with torch.no_grad():
        x, t = torch.randn(1, 4, 8, 8), torch.tensor([500])
        text = lora.prompts(["a cat"])
        ours, theirs = (lora.family.predict(p, x, t, text) for p in (lora.pipeline, opened))
        base = lora.family.predict(tiny_pipeline(kind), x, t, text)
    torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(ours, base, atol=1e-4), "rank 2 and alpha 4 are in the file"


@pytest.mark.parametrize("target", ["to_kk", "to_out", "norm1"])
def test_targets_of_another_base_are_named(target):
    with pytest.raises(UserError, match=f"--lora_targets {target}: this base's UNet2DConditionModel has no linear"):
        lora_config(tiny_pipeline().unet, 4, 4.0, ["to_q", target])


@pytest.mark.parametrize("wrong", [(300, 300), (-1, 10), (0, 1001)])
def test_ranges_of_timesteps(wrong):
    with pytest.raises(UserError, match="--timestep_range .* must be two numbers from 0 to 1000"):
        make_task(timestep_range=wrong)
    with pytest.raises(UserError, match="no meaning for a base that predicts a flow"):
        make_task(kind="sd3", timestep_range=(0, 10))


def half(folder):
    """One of two processes: its half of the batch; DDP's mean of both gradients."""
    rank = int(os.environ["RANK"])
    torch.distributed.init_process_group("gloo")
    for name, task in step_tasks().items():
        batch = make_batch() | {"other_prompt": OTHERS}
        own = {key: value[2 * rank : 2 * rank + 2] for key, value in batch.items()}
        gradient = flat_gradient(task, own)
        torch.distributed.all_reduce(gradient)
        if rank == 0:
            save_file({"gradient": gradient / 2}, folder / f"{name}.safetensors")


def step_tasks():
    """Every loss that takes a mean over the step."""
    settings = [(kto, {"beta": 20.0, "bce_offset": offset}) for offset in ("none", "sigmoid", "original")]
    tasks = {str(i): make_task(*own) for i, own in enumerate([*settings, (kto_gp, {"beta": 5.0})])}
    # of a policy that is worse than its reference, the clamped mean would be 0 whatever is in the step
    tasks["0"].reference.twin, tasks["0"].denoiser = tasks["0"].denoiser, tasks["0"].reference.twin
    tasks["0"].pipeline.unet = tasks["0"].denoiser.requires_grad_(True)
    return tasks


def flat_gradient(task, batch):
    return torch.cat(
        [g.flatten() for g in torch.autograd.grad(task(batch)[0].mean(), list(task.denoiser.parameters()))]
    )


def test_two_processes_give_ones_gradient_the_reference_point_included(tmp_path):
    """Each process's half holds one class alone or most of it, so that its own mean would be another."""
    in_two_processes(half, tmp_path)
    for name, task in step_tasks().items():
        batch = make_batch() | {"other_prompt": OTHERS}
        expected = flat_gradient(task, batch)
        two = load_file(tmp_path / f"{name}.safetensors")["gradient"]
        assert (two - expected).norm() <= 1e-5 * expected.norm()
        # and it would be seen: a half's own mean gives something else
        alone = [
            flat_gradient(task, {key: value[part] for key, value in batch.items()})
            for part in (slice(0, 2), slice(2, 4))
        ]
        assert (sum(alone) / 2 - expected).norm() > 1e-3 * expected.norm()
