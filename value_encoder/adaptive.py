"""The value token of each prompt's own value, which a retriever finds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from transformers import CLIPTextModel

from diffusion_base.conditioning import PromptEmbeddings
from diffusion_base.intervention import Context, Wrapped
from diffusion_base.pipeline import Pipeline
from value_encoder.inference import ValueToken


class Retrieved(Protocol):
    """What a retriever says of a prompt."""

    @property
    def statement(self) -> str | None: ...

    @property
    def kind(self) -> str | None: ...

    @property
    def statements(self) -> Sequence[str]: ...


class Retriever(Protocol):
    """What looks a prompt's value up, e.g. `value_retriever.retriever.ValueRetriever`."""

    def retrieve_many(self, prompts: Sequence[str]) -> Sequence[Retrieved]: ...

    def describe(self) -> dict: ...


class AdaptiveValue(Wrapped):
    """Put the token of each prompt's own value in front of it, as a retriever finds it; where none applies, the picture
    stays the base's, bit for bit.

    Harms get the token on all pictures, of several harms each its own, in their order. Biases get the first one's token
    on a share, drawn as in `ValueToken`. A record's "value" and "value_applied" come first; prompts of pictures with a
    "value" are not looked up.

    Args:
        retriever: has `retrieve_many(prompts)`, whose answers have `statement` (None: no value), `kind` ("harm" or
            "bias") and `statements` (all that apply), and `describe()`. It is asked about a prompt once.
        encoder, pipeline, unpadded, strength, other_base: as in `ValueToken`.
        probability: share of pictures that get a bias value's token.

    Raises:
        UserError: see `ValueToken`.
    """

    inner: ValueToken

    def __init__(
        self,
        retriever: Retriever,
        encoder: str | Path | CLIPTextModel,
        *,
        pipeline: Pipeline,
        probability: float = 0.5,
        unpadded: bool = False,
        strength: float = 1.0,
        other_base: bool = False,
    ):
        super().__init__(
            ValueToken(
                encoder,
                pipeline=pipeline,
                probability=probability,
                unpadded=unpadded,
                strength=strength,
                other_base=other_base,
            )
        )
        self.retriever = retriever
        self._known: dict[str, Retrieved] = {}

    def edit_prompts(
        self, context: Context, conditional: PromptEmbeddings, unconditional: PromptEmbeddings
    ) -> tuple[PromptEmbeddings, PromptEmbeddings]:
        asked = [
            prompt for prompt, record in zip(context.prompts, context.records, strict=True) if "value" not in record
        ]
        if new := [prompt for prompt in dict.fromkeys(asked) if prompt not in self._known]:
            self._known |= dict(zip(new, self.retriever.retrieve_many(new), strict=True))
        pictures = zip(context.prompts, context.records, context.seeds, strict=True)
        values = [self._values(*picture) for picture in pictures]
        return self.inner.with_values(context, values, conditional, unconditional)

    def _values(self, prompt: str, record: dict, seed: int) -> tuple[str, ...]:
        if "value" in record:
            value = self.inner.applied_value(record, seed)
            return (value,) if value else ()
        found = self._known[prompt]
        if found.kind == "harm":
            return tuple(found.statements) if record.get("value_applied") in (None, True) else ()
        value = self.inner.applied_value(record | {"value": found.statement}, seed)
        return (value,) if value else ()

    def describe(self) -> dict:
        about = self.inner.describe()
        del about["value"]
        return about | {"method": "adaptive value", "retriever": self.retriever.describe()}
