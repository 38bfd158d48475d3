"""Prompts to embeddings, and the one place where an extra token goes: the same for training and for sampling."""

from collections import OrderedDict

import torch
from torch import Tensor

from diffusion_base.families import Pipeline, family_of
from diffusion_base.families.text import PromptEmbeddings


@torch.no_grad()
def encode_prompts(pipeline: Pipeline, prompts: list[str]) -> PromptEmbeddings:
    """Encode B prompts exactly as the pipeline itself would, bit for bit on the same batch."""
    return family_of(pipeline).encode_prompts(pipeline, prompts)


@torch.no_grad()
def encode_negative_prompts(pipeline: Pipeline, prompts: list[str]) -> PromptEmbeddings:
    """Likewise, but an empty prompt counts as unset: for SDXL that means zeros, for the others an encoded ""."""
    return family_of(pipeline).encode_negative_prompts(pipeline, prompts)


class CachedPrompts:
    """Embeddings of prompts, kept from one step to the next.

    Every prompt is encoded by itself, so its embedding does not depend on which others share its batch, nor on whether
    it was kept.

    Args:
        limit: bytes that are kept, on the base's device; the prompts that were not used for longest go first. A GiB
            holds 4,500 prompts of Stable Diffusion 1.5 in float32 and 1,700 of XL, in half precision twice as many.
    """

    def __init__(self, pipeline: Pipeline, limit: int = 2**30):
        self.pipeline, self.limit = pipeline, limit
        self.kept: OrderedDict[str, PromptEmbeddings] = OrderedDict()
        self.size = 0

    def __call__(self, prompts: list[str]) -> PromptEmbeddings:
        rows = [self._row(prompt) for prompt in prompts]
        pooled = [row.pooled for row in rows if row.pooled is not None]
        return PromptEmbeddings(torch.cat([row.embeds for row in rows]), torch.cat(pooled) if pooled else None)

    def _row(self, prompt: str) -> PromptEmbeddings:
        if prompt in self.kept:
            self.kept.move_to_end(prompt)
            return self.kept[prompt]
        row = self.kept[prompt] = encode_prompts(self.pipeline, [prompt])
        self.size += _bytes(row)
        while self.size > self.limit:
            self.size -= _bytes(self.kept.popitem(last=False)[1])
        return row


def _bytes(row: PromptEmbeddings) -> int:
    return row.embeds.nbytes + (0 if row.pooled is None else row.pooled.nbytes)


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
