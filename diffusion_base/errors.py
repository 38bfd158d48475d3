"""One kind of error for everything a user can put right, and the way a script reports it."""

import errno
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import NoReturn, TextIO

# not ours to put right: no room, no permission, a file where a folder should be, a name that is too long
OF_THE_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
}


class UserError(Exception):
    """One clear sentence: what is wrong (the file, line or flag), and what to do about it."""


def run(main: Callable[[], object]) -> NoReturn:
    """Run a script's `main` and exit: 0 when it returns, 130 after Ctrl-C.

    After a UserError or a fault of the disk: 2, with one line on stderr. Where the reader of the output has left, as
    `head` does: 141, silently.
    """
    try:
        try:
            _run(main)
        except SystemExit:
            sys.stdout.flush()  # at the interpreter's own end it would be too late to say nothing
            raise
    except BrokenPipeError:
        broken = [stream for stream in (sys.stdout, sys.stderr) if _without_reader(stream)]
        if not broken:
            raise  # another pipe, such as a worker's
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in broken:
            os.dup2(nowhere, stream.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _run(main: Callable[[], object]) -> NoReturn:
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        print(f"error: {error.filename or 'a file'} can't be written or read: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _without_reader(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))
