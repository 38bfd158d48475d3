import pytest

from benchmarks import svm_fit
from diffusion_base.errors import UserError


def test_the_same_hyperplane(capsys):
    found = svm_fit.main(["--latents=40", "--repeats=1", "--shape", "4", "32", "32"])
    assert found["cosine"] >= 0.9999 and found["times"] > 0
    assert found["latents"] == 40 * 4096 * 2 and found["besides"] < 100 * 2**20
    assert "40 latents of 4×32×32" in capsys.readouterr().out


def test_pairs():
    with pytest.raises(UserError, match="--latents 3: it must be an even number"):
        svm_fit.main(["--latents=3"])
