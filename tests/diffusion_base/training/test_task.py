"""What a task must offer, and what the loop sees to: float32, the moving average, means over a step."""

import pytest
import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file

from diffusion_base.errors import UserError
from diffusion_base.training.ema import MovingAverage
from diffusion_base.training.loop import train
from diffusion_base.training.task import TrainingTask
from tests.diffusion_base.toy import ToyData, ToyTask, run_toy, toy_arguments, toy_file, weights


@pytest.mark.parametrize("missing", ["forward", "save"])
def test_a_task_without_forward_or_save_cannot_be_made(missing):
    members = {name: getattr(ToyTask, name) for name in ("forward", "save") if name != missing}
    with pytest.raises(TypeError, match=f"abstract method '?{missing}"):
        type("Half", (TrainingTask,), members)()


def test_a_mean_over_the_step_is_declared():
    """Alone in the world it is the batch's: the mean over (B, K) of each of K values."""
    task = ToyTask(step_mean=True)
    assert task.mean_over_step(torch.tensor([[1.0, 2.0], [3.0, 6.0]], dtype=torch.bfloat16)).tolist() == [2.0, 4.0]
    with pytest.raises(RuntimeError, match="ToyTask .* must say uses_step_means"):
        ToyTask().mean_over_step(torch.ones(2))


def test_a_step_with_means_is_not_cut_otherwise_when_continued(tmp_path, capsys):
    options = {"lr_scheduler": "constant", "resume_from_checkpoint": "latest"}
    run_toy(tmp_path, {"step_mean": True}, max_train_steps=3, **options)
    with pytest.raises(UserError, match="accumulation 1 there, 2 here"):
        run_toy(tmp_path, {"step_mean": True}, train_batch_size=1, gradient_accumulation_steps=2, **options)
    assert "means over a step" not in capsys.readouterr().out
    cut = {"train_batch_size": 1, "gradient_accumulation_steps": 2, "max_train_steps": 1}
    run_toy(tmp_path / "cut", {"step_mean": True}, **cut)
    assert "means over a step, which are now over one batch" in capsys.readouterr().out


def test_the_average_is_diffusers():
    """Against EMAModel, whose decay grows alike, over steps on both sides of where it is grown."""
    parameters = {"a": torch.nn.Parameter(torch.randn(3, generator=torch.Generator().manual_seed(0)))}
    ours, theirs = MovingAverage(parameters, 0.5), EMAModel(parameters.values(), decay=0.5)
    for step in range(1, 21):
        with torch.no_grad():
            parameters["a"] += step
        ours.update(step)
        theirs.step(parameters.values())
        torch.testing.assert_close(ours.average["a"], theirs.shadow_params[0])
    own = parameters["a"].clone()
    with ours.in_place():
        torch.testing.assert_close(parameters["a"].detach(), theirs.shadow_params[0])
    assert torch.equal(parameters["a"], own)


def test_the_average_is_shown_and_saved_and_the_weights_go_on(tmp_path):
    shown = []

    def validate(folder, step):
        shown.append(task.trained.weight.detach().clone())

    plain, averaged = tmp_path / "plain", tmp_path / "averaged"
    run_toy(plain, max_train_steps=3)
    task = ToyTask()
    arguments = toy_arguments(averaged, max_train_steps=3, use_ema=True, ema_decay=0.9)
    train(task, ToyData(), arguments, validate=validate)
    assert torch.equal(shown[0], load_file(toy_file(averaged))["weight"])
    assert weights(averaged) == weights(averaged / "checkpoint-3") != weights(plain)
    trained = load_file(averaged / "checkpoint-3/trainable.safetensors")["trained.weight"]
    assert torch.equal(trained, load_file(toy_file(plain))["weight"]) and torch.equal(trained, task.trained.weight)


def test_what_is_trained_is_kept_in_float32(tmp_path):
    task = ToyTask().bfloat16()
    train(task, ToyData(), toy_arguments(tmp_path, max_train_steps=1, mixed_precision="bf16"))
    dtypes = {name: parameter.dtype for name, parameter in task.named_parameters()}
    low, full = torch.bfloat16, torch.float32
    assert dtypes == {"frozen.weight": low, "frozen.bias": low, "trained.weight": full, "trained.bias": full}


def test_groups_hold_all_that_is_trained_once_with_rates_of_their_own(tmp_path):
    class Grouped(ToyTask):
        def parameter_groups(self):
            return [{"params": [self.trained.weight]}, *self.more]

    task, before = Grouped(), ToyTask().trained.bias
    for more in ([], [{"params": list(task.trained.parameters())}]):
        task.more = more
        with pytest.raises(ValueError, match="trained.(bias|weight) must be in one of the parameter groups"):
            train(task, ToyData(), toy_arguments(tmp_path))
    task.more = [{"params": [task.trained.bias], "lr": 0.0}]
    train(task, ToyData(), toy_arguments(tmp_path, max_train_steps=3))
    assert torch.equal(task.trained.bias, before) and not torch.equal(task.trained.weight, ToyTask().trained.weight)
