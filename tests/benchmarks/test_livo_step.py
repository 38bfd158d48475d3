"""The benchmark of a LiVO step compares two ways to one gradient."""

from benchmarks.livo_step import main


def test_both_ways_have_the_same_gradient(capsys):
    found = main(["--batch_size", "2", "--steps", "1", "--mixed_precision", "no"])
    assert found["difference"] < 1e-4 and found["ratio"] > 0
    assert "ratio" in capsys.readouterr().out
