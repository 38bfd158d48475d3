"""One kind of error for everything a user can put right, and the way a script reports it."""

import errno
import sys
from collections.abc import Callable
from typing import NoReturn

# not ours to put right: no room, no permission, a file where a folder should be, a name that is too long
OF_THE_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
}


class UserError(Exception):
    """One clear sentence: what is wrong (the file, line or flag), and what to do about it."""


def run(main: Callable[[], object]) -> NoReturn:
    """Run a script's `main` and exit: 0 when it returns, 130 after Ctrl-C.

    After a UserError or a fault of the disk: 2, with one line on stderr.
    """
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
