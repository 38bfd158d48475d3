"""Prompts through CLIP's text encoders, as all families have them."""

import warnings
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class PromptEmbeddings:
    """What the denoiser is told of B prompts.

    Attributes:
        embeds: (B, T, D), one vector a position; T is the family's own unless an intervention changed it.
        pooled: (B, P), one vector a prompt, where the family has such; otherwise None.
    """

    embeds: Tensor
    pooled: Tensor | None = None


def tokenize(tokenizer: Any, prompts: list[str], length: int | None = None, *, warn: bool = True) -> Tensor:
    """Token ids (B, length), padded or truncated.

    Args:
        length: None is the tokenizer's own, 77 for CLIP.
        warn: of each truncated prompt, quoting what was lost; not where another encoder reads it or has warned.
    """
    length = length or int(tokenizer.model_max_length)
    inputs = tokenizer(prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    for prompt, used in zip(prompts, inputs.attention_mask.sum(1).tolist(), strict=True):
        if used < length or not warn:
            continue
        ids = tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
        if lost := ids[length - tokenizer.num_special_tokens_to_add() :]:  # the marks of start and end
            # Python shows a warning of the same text and place once, however often the prompt returns
            warnings.warn(
                f"the prompt is longer than {length} positions and its end was cut off: "
                f"lost {tokenizer.decode(lost)!r} of {prompt!r}",
                stacklevel=2,
            )
    return inputs.input_ids


def penultimate(encoder: Any, ids: Tensor) -> tuple[Tensor, Any]:
    """The states before CLIP's last layer, (B, T, D), and all of its output."""
    output = encoder(ids.to(encoder.device), output_hidden_states=True)
    return output.hidden_states[-2], output
