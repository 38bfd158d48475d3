"""What a script says and returns when something goes wrong."""

import errno

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


def test_our_own_bugs_keep_their_traceback():
    with pytest.raises(FileNotFoundError):
        run(raising(FileNotFoundError(errno.ENOENT, "No such file", "template.html")))
