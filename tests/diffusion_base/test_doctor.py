"""The report names every part, and what a missing one costs."""

import importlib.metadata

import pytest

from diffusion_base import doctor
from diffusion_base.errors import UserError


def test_report(capsys):
    doctor.main([])
    report = capsys.readouterr().out
    for part in ("Python", "device", "matrix speed", "attention", "✓ torch ", "✓ diffusers ", "xformers"):
        assert part in report


def test_every_optional_part_has_its_cost_written_down():
    _, optional = doctor._requirements()
    assert {requirement.name for requirement, _ in optional} == set(doctor.WITHOUT)


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
