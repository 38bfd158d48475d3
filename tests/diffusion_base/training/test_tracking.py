"""The history of a run: what is kept of it when the run is continued, and of which samples its means are."""

from types import SimpleNamespace

import torch

from diffusion_base.training.tracking import RunningMeans, add_to_history, read_history, start_history


def test_history_goes_on_at_the_step_it_continues_from(tmp_path):
    assert read_history(tmp_path) == []
    start_history(tmp_path, 0)
    for step in (1, 2, 3):
        add_to_history(tmp_path, step, {"loss": 1 / step})
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # killed
    assert [row["step"] for row in read_history(tmp_path)] == [1, 2, 3]
    start_history(tmp_path, 2)
    add_to_history(tmp_path, 3, {"loss": 0.25})
    assert read_history(tmp_path) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": 0.25}]


def test_a_figure_of_some_samples_is_the_mean_over_these():
    """By their number, not by batches: (1 + 5 + 6) / 3. One that no sample had is left out, and comes back."""
    alone = SimpleNamespace(device="cpu", reduce=lambda sums, reduction: sums, gather=lambda value: value)
    means, nan = RunningMeans(alone), torch.nan
    means.add(1, {"loss": torch.ones(2), "liked": torch.tensor([1.0, nan]), "other": torch.tensor([nan, nan])})
    means.add(2, {"loss": torch.zeros(2), "liked": torch.tensor([5.0, 6.0]), "other": torch.tensor([nan, nan])})
    assert means.read() == {"loss": 0.5, "liked": 4.0} and means.first_bad_step() is None
    means.add(3, {"loss": torch.tensor([nan, 1.0]), "liked": torch.tensor([nan, nan]), "other": torch.ones(2)})
    assert means.read()["other"] == 1.0 and means.first_bad_step() == 3
