"""What the tests of shell scripts share."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTED = 'import json, sys; print(json.dumps(sys.argv[1:]), file=open("commands.log", "a"))'


@pytest.fixture
def checkout(tmp_path) -> Path:
    """This repository by links, with an environment whose Python notes what it is to run: a start takes seconds."""
    folder = tmp_path / "checkout"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name != "runs":
            (folder / path.name).symlink_to(path)
    python = folder / ".venv" / "bin" / "python"
    run, note = f'exec {sys.executable} "$@"', f"{sys.executable} -c '{NOTED}' \"$@\""
    python.write_text(f"#!/bin/sh\ncase $1 in -c | --version) {run} ;; esac\n{note}\n")
    python.chmod(0o755)
    state = subprocess.run("cat pyproject.toml constraints.txt | cksum", shell=True, cwd=ROOT, capture_output=True)
    for name in (".installed", ".installed-eval"):
        (folder / ".venv" / name).write_bytes(state.stdout)
    return folder
