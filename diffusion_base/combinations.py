"""What is learned under names: weighted sums of them as text, and the nearest name to one that is unknown."""

import difflib
import re
from collections.abc import Iterable

from diffusion_base.errors import UserError

NAME = r"\w[\w-]*"
TERM = re.compile(rf"(?P<minus>-)?(?:(?P<weight>\d+\.?\d*|\.\d+)\*)?(?P<name>{NAME})")


def parse_combination(text: str) -> dict[str, float]:
    """The weights in "0.7*woman + anti_bloody - 0.5*old"; a term without a weight counts once.

    In a command line's spec a plus arrives as a space, so spaces alone separate terms too.

    Raises:
        UserError: not of that form.
    """
    tight = re.sub(r"\s*\*\s*", "*", re.sub(r"-\s+", "-", text.strip()))
    weights: dict[str, float] = {}
    for part in re.split(r"[\s+]+", tight):
        term = TERM.fullmatch(part)
        if term is None:
            raise UserError(f"{text!r}: {part!r} is not a concept or weight*concept, such as 0.7*woman")
        weight = float(term["weight"] or 1) * (-1 if term["minus"] else 1)
        weights[term["name"]] = weights.get(term["name"], 0.0) + weight
    return weights


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest one, and all there are."""
    known = sorted(known)
    lower = {other.lower(): other for other in known}
    nearest = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    suggestion = f"; did you mean {lower[nearest[0]]!r}?" if nearest else ";"
    return f"{suggestion} There are: {', '.join(known)}"
