"""Random concept vectors for a tiny base, large enough to show in its pictures."""

from pathlib import Path

import torch

from concept_vectors.vectors import FILE, ConceptVectors, mid_block_shape
from diffusion_base.identity import base_hash

CONCEPTS = ("man", "woman", "anti-bloody")


def random_vectors(pipeline, concepts=CONCEPTS, per_channel=False, scale=30.0, seed=0) -> ConceptVectors:
    """Vectors as a training would leave them."""
    generator = torch.Generator().manual_seed(seed)
    shape = mid_block_shape(pipeline.unet)[: 1 if per_channel else 3]
    tensors = {concept: scale * torch.randn(shape, generator=generator) for concept in concepts}
    return ConceptVectors(tensors, base_hash(pipeline), pipeline.unet.config.cross_attention_dim, {"steps": 1})


def write_vectors(folder: Path, pipeline, **options) -> Path:
    """Save such vectors in a folder and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    random_vectors(pipeline, **options).save(folder / FILE)
    return folder
