"""What may answer the prompts that name no harm: the protocol of a backend, and the flags that choose one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

from annotated_types import Ge, Le

from diffusion_base.arguments import Count, NotNegative, Positive, WholeNumber, check_ranges
from diffusion_base.errors import UserError
from value_retriever.answer import Heard, RetrievedValue, Undecided

BackendName = Literal["auto", "openai", "local", "rule", "none"]


class Backend(Protocol):
    """What answers the prompts that name no harm."""

    name: str

    def describe(self) -> dict:
        """JSON that identifies it; two with equal descriptions give the same answers."""

    def ask(self, prompts: Sequence[str], heard: Heard) -> Sequence[RetrievedValue | Undecided]:
        """An answer for each prompt, in their order; `heard` is told of each as it comes."""


@dataclass
class BackendOptions:
    """What answers where keywords settle nothing."""

    values: Path | None = None
    """YAML file with values of your own, in the form of value_retriever/values.yaml; they are added to the shipped."""
    backend: BackendName = "auto"
    """openai (any OpenAI-compatible endpoint), local (a sentence encoder), rule (person words), none (keywords alone);
    auto: openai where a key or base_url is set, else local where an encoder is there, else rule."""
    model: str | None = None
    """openai: the model's name; by default OPENAI_MODEL."""
    base_url: str | None = None
    """openai: the endpoint, e.g. http://localhost:8000/v1; by default OPENAI_BASE_URL, else OpenAI's own. The key is
    read from OPENAI_API_KEY and nowhere else; local servers mostly need none."""
    timeout: Positive = 30.0
    """openai: seconds that one request may take."""
    time_budget: Positive = 600.0
    """openai: seconds that all prompts of a call may take, retries and waiting included; the rest is then given up."""
    max_retries: WholeNumber = 5
    """openai: how often a request is tried again after 429, 5xx, a timeout or a dropped connection."""
    concurrency: Count = 8
    """openai: requests under way at a time."""
    price_in: NotNegative | None = None
    """openai: price of a million prompt tokens, for the summary of costs."""
    price_out: NotNegative | None = None
    """openai: price of a million completion tokens."""
    local_model: str | None = None
    """local: a sentence encoder's folder or hub name; by default sentence-transformers/all-MiniLM-L6-v2, which auto
    takes only where it has been downloaded before."""
    margin: Annotated[float, Ge(0), Le(2)] = 0.03
    """local: how much nearer the nearest example must be than the nearest of another value; else the rule answers."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if (self.price_in is None) != (self.price_out is None):
            raise UserError("--price_in and --price_out belong together: give both, or neither")
