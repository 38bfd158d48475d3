"""Prompts to embeddings, and the one place where an extra token goes: the same for training and for sampling."""

from typing import Any

import torch
from torch import Tensor

from diffusion_base.families import family_of
from diffusion_base.families.text import PromptEmbeddings


@torch.no_grad()
def encode_prompts(pipeline: Any, prompts: list[str]) -> PromptEmbeddings:
    """Encode B prompts exactly as the pipeline itself would, bit for bit on the same batch."""
    return family_of(pipeline).encode_prompts(pipeline, prompts)


@torch.no_grad()
def encode_negative_prompts(pipeline: Any, prompts: list[str]) -> PromptEmbeddings:
    """Likewise, but an empty prompt counts as unset: for SDXL that means zeros, for the others an encoded ""."""
    return family_of(pipeline).encode_negative_prompts(pipeline, prompts)


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
