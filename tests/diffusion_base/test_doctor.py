"""The report names every part, and what a missing one costs."""

import importlib.metadata

import pytest

from diffusion_base import doctor
from diffusion_base.errors import UserError
from tests.test_packaging import EXTRAS


def test_report(capsys):
    doctor.main([])
    report = capsys.readouterr().out
    for part in ("Python", "device", "matrix speed", "attention", "✓ torch ", "✓ diffusers ", "xformers"):
        assert part in report


def test_every_optional_part_has_its_cost_written_down():
    assert set().union(*(names for extra, names in EXTRAS.items() if extra != "dev")) == set(doctor.WITHOUT)


def test_an_installation_that_is_older_than_the_program(monkeypatch, capsys):
    """Its metadata, written when it was installed, may name what is no option any more."""
    older = ["torch", 'sound; extra == "music"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: older)
    doctor.main([])
    assert "sound                  missing: a part of an older version; run: pip install" in capsys.readouterr().out


def test_missing_and_wrong_packages(monkeypatch, capsys):
    def version(package: str) -> str:
        if package in ("accelerate", "wandb"):
            raise importlib.metadata.PackageNotFoundError
        return "0.1" if package == "diffusers" else "99" if package in doctor.WITHOUT else real(package)

    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(UserError, match="lacks diffusers.*, accelerate.*; run: pip install"):
        doctor.main([])
    report = capsys.readouterr().out
    assert "✗ diffusers" in report and "✗ accelerate" in report
    assert "– wandb                  missing: no --report_to=wandb" in report and "[track]" in report


@pytest.mark.parametrize("package", ["torch", "t2i-align"])
def test_without_what_it_needs_itself(monkeypatch, package):
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == package else real(name))
    with pytest.raises(UserError, match=f"{package}.* is not installed; run: pip install"):
        doctor.main([])
