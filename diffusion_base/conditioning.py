"""Prompts to embeddings, and the one place where an extra token goes: the same for training and for sampling."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PromptEmbeddings:
    """What the UNet is told of B prompts.

    Attributes:
        embeds: (B, T, D), one vector a position; T = 77 unless an intervention changed it.
        pooled: (B, P) for SDXL, otherwise None.
    """

    embeds: Tensor
    pooled: Tensor | None = None


def tokenize(tokenizer, prompts: list[str]) -> Tensor:
    """Token ids (B, 77), padded or truncated; each truncated prompt is warned of, quoting what was lost."""
    length = tokenizer.model_max_length
    inputs = tokenizer(prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    for prompt, used in zip(prompts, inputs.attention_mask.sum(1).tolist(), strict=True):
        if used < length:
            continue
        ids = tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
        if lost := ids[length - 2 :]:  # two positions are the start and end marks
            # Python shows a warning of the same text and place once, however often the prompt returns
            warnings.warn(
                f"the prompt is longer than {length} positions and its end was cut off: "
                f"lost {tokenizer.decode(lost)!r} of {prompt!r}",
                stacklevel=2,
            )
    return inputs.input_ids


@torch.no_grad()
def encode_prompts(pipeline, prompts: list[str]) -> PromptEmbeddings:
    """Encode B prompts exactly as the pipeline itself would, bit for bit on the same batch."""
    ids = tokenize(pipeline.tokenizer, prompts)
    if not is_xl(pipeline):
        return PromptEmbeddings(pipeline.text_encoder(ids.to(pipeline.text_encoder.device)).last_hidden_state)
    first = pipeline.text_encoder(ids.to(pipeline.text_encoder.device), output_hidden_states=True)
    # the two tokenizers differ in their padding alone, so what the second one cuts off was reported by the first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ids = tokenize(pipeline.tokenizer_2, prompts)
    second = pipeline.text_encoder_2(ids.to(pipeline.text_encoder_2.device), output_hidden_states=True)
    embeds = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    return PromptEmbeddings(embeds, second.text_embeds)


def encode_negative_prompts(pipeline, prompts: list[str]) -> PromptEmbeddings:
    """Like `encode_prompts`, but an empty prompt counts as unset, which for SDXL means zeros, not an encoded ""."""
    encoded = encode_prompts(pipeline, prompts)
    if encoded.pooled is None or not pipeline.config.force_zeros_for_empty_prompt:
        return encoded
    given = torch.tensor([prompt != "" for prompt in prompts], device=encoded.embeds.device)
    return PromptEmbeddings(encoded.embeds * given[:, None, None], encoded.pooled * given[:, None])


class CachedPrompts:
    """Embeddings of prompts, each encoded the first time it is seen and kept.

    Every prompt is encoded by itself, so its embedding does not depend on which others share its batch.
    """

    def __init__(self, pipeline):
        self.pipeline = pipeline
        self.kept: dict[str, PromptEmbeddings] = {}

    def __call__(self, prompts: list[str]) -> PromptEmbeddings:
        for prompt in prompts:
            if prompt not in self.kept:
                self.kept[prompt] = encode_prompts(self.pipeline, [prompt])
        rows = [self.kept[prompt] for prompt in prompts]
        pooled = [row.pooled for row in rows if row.pooled is not None]
        return PromptEmbeddings(torch.cat([row.embeds for row in rows]), torch.cat(pooled) if pooled else None)


def prepend_token(token: Tensor, embeds: Tensor, *, length: int | None) -> Tensor:
    """Put one extra token in front of a sequence of text embeddings.

    Args:
        token: (B, D).
        embeds: (B, T, D).
        length: positions of the result: the token and the first length − 1 of the sequence, so that with T = length the
            unconditional branch stays the ordinary one. None keeps all, 1 + T.

    Returns:
        (B, length or 1 + T, D).
    """
    kept = embeds if length is None else embeds[:, : length - 1]
    return torch.cat([token[:, None].to(embeds.dtype), kept], dim=1)


def is_xl(pipeline) -> bool:
    """Whether the pipeline is an SDXL one, with two text encoders and a pooled embedding."""
    return "text_encoder_2" in pipeline.components
