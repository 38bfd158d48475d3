import pytest

from benchmarks.seed_coverage import main
from diffusion_base.errors import UserError


def test_intervals_hold_seeds_where_those_over_prompts_alone_do_not(capsys):
    flags = [
        "--repetitions",
        "200",
        "--seeds",
        "3",
        "--prompts",
        "20",
        "--cases",
        "all: seeds' Beta(2",
        "seeds: normal",
    ]
    found = main(flags)
    for world in ("all: seeds' Beta(2, 18)", "seeds: normal, .3 ± .1"):
        covered, width, called = found[world, "joined", 3, 20]
        assert covered >= 0.95 and width < 0.5 and called <= 0.03
        assert found[world, "and a seed", 3, 20][1] > 0.7  # holds, and says nothing
    alone, scatter = (found["seeds: normal, .3 ± .1", method, 3, 20] for method in ("prompts alone", "pigeonhole"))
    assert alone[0] < 0.93 and alone[1] < scatter[1] < width
    assert "seeds: normal, .3 ± .1     joined" in capsys.readouterr().out


def test_one_sentence_for_what_is_not_there():
    with pytest.raises(UserError, match="no world's name begins with 'rates'; there are nothing differs"):
        main(["--cases", "rates"])
