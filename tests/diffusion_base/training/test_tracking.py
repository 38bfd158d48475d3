"""The history of a run: what is kept of it when the run is continued."""

from diffusion_base.training.tracking import add_to_history, read_history, start_history


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
