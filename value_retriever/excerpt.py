"""What may be shown of a text that a server sent: one short line without the secrets that it was sent itself.

Servers repeat keys and headers, and libraries cut such texts anywhere: so a piece of a secret is hidden like the whole.
"""

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

LENGTH = 300  # characters shown
READ = 100 * LENGTH  # characters looked at
PIECE = 6  # characters in a row of a secret that give it away
HIDDEN = "[hidden]"


def excerpt(text: str, secrets: Iterable[str] = ()) -> str:
    """The beginning of a text in one printable line, `[hidden]` where it holds a secret or a piece of one."""
    text = text[:READ]
    hidden = [False] * len(text)
    for secret in secrets:
        for start, end in _found(text, secret):
            hidden[start:end] = [True] * (end - start)
    shown = "".join(
        c if not dark else HIDDEN if i == 0 or not hidden[i - 1] else ""
        for i, (c, dark) in enumerate(zip(text, hidden, strict=True))
    )
    shown = re.sub(r"//[^/@\s]+@", "//", shown)  # credentials in an address that a message repeats
    shown = "".join(c if c.isprintable() else " " for c in shown)
    return " ".join(shown.split())[:LENGTH]


def secrets_of(key: str, address: str | None) -> set[str]:
    """The key and the credentials and query of an address, in the forms they may come back in."""
    secrets = {key}
    if address and "@" in (credentials := urlsplit(address).netloc):
        user, _, password = unquote(credentials.rpartition("@")[0]).partition(":")
        secrets |= {password, f"{user}:{password}", credentials.rpartition("@")[0], basic(user, password)}
        secrets |= {user} if len(user) >= PIECE else set()  # tokens stand there too; short names are no secret
    if address:
        secrets.add(urlsplit(address).query)
    escaped = {form for secret in secrets for form in (repr(secret)[1:-1], json.dumps(secret)[1:-1])}
    return (secrets | escaped) - {""}


def basic(user: str, password: str) -> str:
    """User and password as HTTP's basic authorisation sends them."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _found(text: str, secret: str) -> Iterable[tuple[int, int]]:
    """Where a text holds a secret: every piece of it, or, of a short one, every word that is it."""
    if len(secret) < PIECE:
        return (match.span() for match in re.finditer(rf"(?<!\w){re.escape(secret)}(?!\w)", text))
    pieces = {secret[i : i + PIECE] for i in range(len(secret) - PIECE + 1)}
    return ((i, i + PIECE) for i in range(len(text) - PIECE + 1) if text[i : i + PIECE] in pieces)
