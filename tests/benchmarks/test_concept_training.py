from benchmarks import concept_training
from tests.tiny import tiny_folder


def test_the_same_gradient_with_less_kept(tmp_path, capsys):
    base = tiny_folder(tmp_path / "base")
    flags = [f"--pretrained_model_name_or_path={base}", "--batch_size=2", "--steps=2", "--device=cpu"]
    found = concept_training.main(flags)
    assert found["difference"] <= 1e-5 and found["memory"] > 1.2 and found["time"] > 0
    assert "batch 2 on cpu" in capsys.readouterr().out
