from benchmarks import scoring


def test_one_pass_gives_the_figures_of_many(capsys):
    flags = ["--pictures", "6", "--resolution", "32", "--num_workers", "0", "--batch_size", "4", "--device", "cpu"]
    found = scoring.main(flags)
    assert found["difference"] <= 1e-5 and min(found["ratio"], found["plain"]) > 0
    assert "6 pictures of 32 px on cpu" in capsys.readouterr().out
