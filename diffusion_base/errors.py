"""One kind of error for everything a user can put right, and the way a script reports it."""

import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """One clear sentence: what is wrong (the file, line or flag), and what to do about it."""


def run(main: Callable[[], object]) -> NoReturn:
    """Run a script's `main` and exit: 0 when it returns, 2 after a UserError (one line on stderr), 130 after Ctrl-C."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)
