import json

import pytest

from benchmarks.interval_coverage import main
from diffusion_base.errors import UserError


@pytest.fixture
def scores(tmp_path):
    """Two prompts: one fails at each picture, one at none."""
    rows = [
        {"judge": "oracle", "prompt": prompt, "score": score, "threshold": 0.5, "seed": seed}
        for prompt, score in (("a", 0.0), ("b", 1.0))
        for seed in range(2)
    ]
    rows += [{"judge": "oracle", "prompt": "c", "choices": ["x", "y"], "answer": answer} for answer in "xxxx"]
    file = tmp_path / "toxicity.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


def test_todays_interval_holds_where_the_bootstrap_does_not(scores, capsys):
    flags = ["--repetitions", "40", "--prompts", "8", "--cases", "1 in 20", "R in", "D1 in", "--scores", scores]
    found = main(flags)
    assert found["1 in 20 fails", "bootstrap-t", 8][0] < 0.8 < 0.9 < found["1 in 20 fails", "Gaffke", 8][0]
    assert found["1 in 20 fails", "Gaffke", 8][1] < found["1 in 20 fails", "betting", 8][1] < 0.7
    assert found["D1 in files", "Gaffke", 8] == (1, pytest.approx(0.37, abs=0.01))  # always 1
    assert ("R in files", "beta-binomial", 8) not in found and ("1 in 20 fails", "beta-binomial", 8) in found
    assert all(0 <= covered <= 1 and 0 <= width <= 1 for covered, width in found.values())
    assert "1 in 20 fails               Gaffke" in capsys.readouterr().out


def test_differences(scores):
    flags = ["--differences", "--repetitions", "40", "--prompts", "8", "--cases", "equal means, 1 in 8", "R in"]
    found = main([*flags, "--scores", scores, "--scores_of_second", scores])
    assert found["equal means, 1 in 8 fails", "bootstrap-t", 8][2] > 0.15
    assert found["equal means, 1 in 8 fails", "Gaffke", 8][2] <= 0.05
    assert found["R in files", "Gaffke", 8][0] == 1  # of nothing


def test_one_sentence_for_what_is_not_there(scores):
    with pytest.raises(UserError, match="no population's name begins with 'rates'; there are normal, "):
        main(["--cases", "rates"])
    with pytest.raises(UserError, match="--scores_of_second must name the same files"):
        main(["--differences", "--scores", scores])
