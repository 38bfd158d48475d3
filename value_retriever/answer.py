"""What the retriever says of a prompt."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["harm", "bias"]


@dataclass(frozen=True)
class RetrievedValue:
    """The value statement that a prompt calls for.

    Attributes:
        statement: e.g. "gender equality"; None where no value applies.
        kind: the statement's: "harm" (for all pictures of the prompt) or "bias" (for a share of them).
        source: who said so: "keywords", "openai", "local", "rule", or "none".
        confidence: 0 to 1, on the source's own scale; README.md says what each means.
        reason: a few words for people.
        statements: all values that apply, harms alone where there are any, in the order of the values' file;
            `statement` is the first.
        person: whether the picture would show people; None where nobody asked, because a harm applies.
        failure: why the backend could not answer and this is another's answer; "" where it could.
    """

    statement: str | None
    kind: Kind | None
    source: str
    confidence: float
    reason: str
    statements: tuple[str, ...] = ()
    person: bool | None = None
    failure: str = ""


@dataclass(frozen=True)
class Undecided:
    """A backend's word that it has no answer, and why; `failed` where it should have had one."""

    reason: str
    failed: bool = False


# told of each answer as it comes
Heard = Callable[[str, RetrievedValue | Undecided], None]
