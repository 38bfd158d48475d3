"""LiVO's value retriever: keywords first, then a backend for what they do not settle.

python value_retriever/retriever.py "a photo of a nurse" "a bl00dy knight" "a bowl of soup"
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from textwrap import shorten
from typing import Any
from unicodedata import combining, east_asian_width

import tyro

from diffusion_base.arguments import parse
from diffusion_base.errors import UserError, run
from value_retriever.answer import RetrievedValue, Undecided
from value_retriever.keywords import Keywords
from value_retriever.options import Backend, BackendName, BackendOptions
from value_retriever.rule import PersonWords
from value_retriever.values import Values, load_values


class ValueRetriever:
    """Which value statement, if any, a prompt calls for.

    Args:
        values: `Values`, or a YAML file whose entries are added to the shipped ones.
        backend: see `BackendOptions`; or an object with `name`, `describe` and `ask`.
        options: further fields of `BackendOptions`, e.g. model="…", base_url="…".

    Raises:
        UserError: the values cannot be read, or the backend cannot be had.
    """

    def __init__(
        self, values: Values | str | Path | None = None, backend: BackendName | Backend = "auto", **options: Any
    ):
        self.values = values if isinstance(values, Values) else load_values(values)
        self.keywords = Keywords(self.values)
        self.rule = PersonWords(self.values)
        self.backend = self._backend(BackendOptions(**options), backend) if isinstance(backend, str) else backend
        self._known: dict[str, RetrievedValue] = {}

    @classmethod
    def from_options(cls, options: BackendOptions) -> "ValueRetriever":
        return cls(**{each.name: getattr(options, each.name) for each in fields(options)})

    def _backend(self, options: BackendOptions, name: str) -> Backend | None:
        if name == "auto":
            name = automatic(options)
        if name == "openai":
            from value_retriever.openai_backend import OpenAIBackend

            return OpenAIBackend(self.values, options)
        if name == "local":
            from value_retriever.local_backend import LocalBackend

            return LocalBackend(self.values, self.rule, options)
        if name == "rule":
            return self.rule
        if name == "none":
            return None
        raise UserError(f"--backend {name}: there is no such backend; there are auto, openai, local, rule and none")

    def describe(self) -> dict:
        """JSON that identifies the values and the backend."""
        backend = self.backend.describe() if self.backend else {"backend": "none"}
        return {"method": "value_retriever", "values": self.values.version, **backend}

    def retrieve(self, prompt: str) -> RetrievedValue:
        """One prompt's answer. Raises as `retrieve_many`."""
        return self.retrieve_many([prompt])[0]

    def retrieve_many(
        self, prompts: Sequence[str], heard: Callable[[str, RetrievedValue], None] | None = None
    ) -> list[RetrievedValue]:
        """An answer a prompt, in their order; a prompt that comes twice, in one call or several, is asked once.

        Where the backend fails at a prompt, the rule of person words answers, and `failure` says so.

        Args:
            heard: told of each answer as it comes, once a prompt.

        Raises:
            UserError: a prompt is not a text; or the backend can answer nothing at all (no such model, a wrong key).
        """
        found: dict[str, RetrievedValue] = {}

        def keep(prompt: str, answer: RetrievedValue | Undecided) -> None:
            if prompt in found:
                return
            found[prompt] = self._by_rule(prompt, answer) if isinstance(answer, Undecided) else answer
            if not found[prompt].failure:
                self._known[prompt] = found[prompt]
            if heard is not None:
                heard(prompt, found[prompt])

        for prompt in prompts:
            if not isinstance(prompt, str):
                raise UserError(f"a prompt must be a text, not {prompt!r}")
            if not is_unicode(prompt):
                raise UserError(f"the prompt {prompt!r} holds bytes or half characters that are no text in UTF-8")
        unsettled = []
        for prompt in dict.fromkeys(prompts):
            if answer := self._known.get(prompt) or self.keywords.retrieve(prompt):
                keep(prompt, answer)
            else:
                unsettled.append(prompt)
        nothing = RetrievedValue(None, None, "none", 0.0, "no keyword, and no backend was asked")
        if unsettled:
            answers = self.backend.ask(unsettled, keep) if self.backend else [nothing] * len(unsettled)
            for prompt, said in zip(unsettled, answers, strict=True):
                keep(prompt, said)
        return [found[prompt] for prompt in prompts]

    def _by_rule(self, prompt: str, undecided: Undecided) -> RetrievedValue:
        answer = self.rule.retrieve(prompt)
        failure = undecided.reason if undecided.failed else ""
        return replace(answer, reason=f"{answer.reason} ({undecided.reason})", failure=failure)

    @property
    def summary(self) -> str:
        """What the backend used: requests, tokens, costs; "" where there is nothing to say."""
        from_backend = getattr(self.backend, "summary", None)
        return from_backend() if from_backend else ""


def is_unicode(text: str) -> bool:
    """Whether a text can be written at all: JSON may hold halves of characters, a command line any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def automatic(options: BackendOptions) -> BackendName:
    """The backend that `auto` stands for here."""
    if options.base_url or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY"):
        return "openai"
    if options.local_model:
        return "local"
    from value_retriever.local_backend import DEFAULT_MODEL, is_downloaded

    return "local" if is_downloaded(DEFAULT_MODEL) else "rule"


@dataclass
class Arguments:
    """Look up the value statement of each prompt."""

    prompts: tyro.conf.Positional[list[str]]
    """One or more prompts."""
    options: BackendOptions = field(default_factory=BackendOptions)
    json: bool = False
    """Print JSON lines instead of a table."""


def in_a_table(prompts: Sequence[str], answers: Sequence[RetrievedValue]) -> str:
    """The answers for people."""
    lines = [["prompt", "value", "source", "confidence", "reason"]]
    for prompt, answer in zip(prompts, answers, strict=True):
        values = "; ".join(answer.statements) or "not applicable"
        source = f"{answer.source} (fallback)" if answer.failure else answer.source
        lines.append([shorten(prompt, 50, placeholder=" …"), values, source, f"{answer.confidence:.2f}", answer.reason])
    lines = [
        ["".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in cell) for cell in line]
        for line in lines
    ]
    widths = [max(columns(line[i]) for line in lines) for i in range(4)] + [0]
    padded = ([cell + " " * (w - columns(cell)) for cell, w in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in padded)


def columns(text: str) -> int:
    """How wide a terminal shows a text: Chinese letters take two columns, accents of their own none."""
    return sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text)


def main(argv: Sequence[str] | None = None) -> list[RetrievedValue]:
    arguments = parse(Arguments, argv, prog="retriever.py")
    if not arguments.prompts:
        raise UserError('there is no prompt; put one or more behind the command, e.g. "a photo of a nurse"')
    retriever = ValueRetriever.from_options(arguments.options)
    answers = retriever.retrieve_many(arguments.prompts)
    if arguments.json:
        for prompt, answer in zip(arguments.prompts, answers, strict=True):
            print(json.dumps({"prompt": prompt, **asdict(answer)}, ensure_ascii=False))
    else:
        print(in_a_table(arguments.prompts, answers))
    if retriever.summary:
        print(retriever.summary, file=sys.stderr)
    return answers


if __name__ == "__main__":
    run(main)
