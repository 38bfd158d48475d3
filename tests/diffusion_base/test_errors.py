"""What a script says and returns when something goes wrong."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from diffusion_base.errors import UserError, run


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("--seed must not be negative"), 2, "error: --seed must not be negative\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out/a.png"),
            2,
            "error: out/a.png can't be written or read:",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 2, "error: out can't be written or read:"),
        (FileExistsError(errno.EEXIST, "File exists", "out"), 2, "error: out can't be written or read: File exists"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_one_line_and_a_code(error, code, line, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(raising(error))
    assert stopped.value.code == code
    assert capsys.readouterr().err.startswith(line)


WRITER = """
import sys
sys.path.insert(0, {root!r})
from diffusion_base.errors import UserError, run

def main():
    print("x" * {characters})
    if {fault!r}:
        raise {fault}("too late")

run(main)
"""


@pytest.mark.parametrize(
    ("characters", "fault", "code", "said"),
    [
        (10, "", 141, r""),
        (1_000_000, "", 141, r""),
        (10, "UserError", 141, r"error: too late\n"),
        (10, "RuntimeError", 120, r"(?s)Traceback .*RuntimeError: too late\n.*"),  # 120 is the interpreter's own
    ],
)
def test_a_reader_that_leaves_is_no_fault(characters, fault, code, said):
    """What `head` closes: 141 is a shell's code for it. Little is written at the end only, much of it at once."""
    script = WRITER.format(root=str(Path(__file__).parents[2]), characters=characters, fault=fault)
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-S", "-c", script]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, env=environment)
    os.close(writing)
    assert done.returncode == code and re.fullmatch(said, done.stderr)


def test_a_broken_pipe_of_another_kind_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("sys.stdout", sys.__stdout__)
    monkeypatch.setattr("sys.stderr", sys.__stderr__)
    with pytest.raises(BrokenPipeError):
        run(raising(BrokenPipeError(errno.EPIPE, "Broken pipe")))


def test_our_own_bugs_keep_their_traceback():
    with pytest.raises(FileNotFoundError):
        run(raising(FileNotFoundError(errno.ENOENT, "No such file", "template.html")))
