"""The set-up shared by the scripts, tried with a pip that only notes what it was asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path):
    """A checkout with an environment whose `python -m pip` writes its arguments to pip.log and installs nothing."""
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    environment = tmp_path / ".venv" / "bin"
    environment.mkdir(parents=True)
    python = environment / "python"
    note = '[ "$1 $2" = "-m pip" ] && shift 2 && echo "$@" >>pip.log && exit'
    python.write_text(f'#!/bin/sh\n{note}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path


def setup(checkout, extra="", path=None):
    script = f'set -euo pipefail; . {ROOT}/scripts/setup.sh; setup {extra}; echo "python: $python"'
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    bash = "/bin/bash" if Path("/bin/bash").exists() else "bash"
    return subprocess.run([bash, "-c", script], cwd=checkout, env=environment, capture_output=True, text=True)


def installs(checkout):
    log = checkout / "pip.log"
    return log.read_text().splitlines() if log.exists() else []


def test_installs_once_and_again_when_something_changed(checkout):
    first = setup(checkout)
    assert first.returncode == 0 and "Installing" in first.stdout, first.stderr
    assert f"python: {checkout}/.venv/bin/python" in first.stdout
    assert installs(checkout)[0].endswith("install -c constraints.txt -e .")
    assert "installed and unchanged" in setup(checkout).stdout
    assert len(installs(checkout)) == 1

    setup(checkout, "dev")
    assert installs(checkout)[1].endswith("-e .[dev]")
    assert "installed and unchanged" in setup(checkout).stdout  # the extra holds all that is needed without it
    with (checkout / "constraints.txt").open("a") as file:
        file.write("safetensors==0.8.0\n")
    setup(checkout)
    assert len(installs(checkout)) == 3


def test_a_failed_install_is_tried_again(checkout):
    python = checkout / ".venv" / "bin" / "python"
    working = python.read_text()
    python.write_text(working.replace("shift 2", "exit 1"))
    assert setup(checkout).returncode != 0
    python.write_text(working)
    assert "Installing" in setup(checkout).stdout


def test_no_python(checkout, tmp_path):
    """Nothing but the shell on PATH, and no environment yet."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "cat").symlink_to("/bin/cat")
    for file in sorted((checkout / ".venv").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    (checkout / ".venv").rmdir()
    result = setup(checkout, path=str(tools))
    assert result.returncode == 2 and "no Python 3.10 or newer" in result.stderr


def test_a_broken_environment_is_not_touched(checkout):
    (checkout / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    result = setup(checkout)
    assert result.returncode == 2 and "delete it" in result.stderr


def test_quickstart_explains_its_options():
    script = ["bash", str(ROOT / "scripts" / "quickstart.sh")]
    text = subprocess.run([*script, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(option in text for option in ("--output_dir", "--max_train_steps", "--images_per_prompt"))
    wrong = subprocess.run([*script, "--steps", "3"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "unknown option --steps" in wrong.stderr
