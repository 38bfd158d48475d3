"""Image quality of sets of pictures, in one pass over them: FID, KID, IS, CMMD, CLIP score, diversity, similarity."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import torch

from diffusion_base.errors import UserError
from diffusion_base.processes import process_state
from evaluation.figures.quality import MetricFlag, check_sets, describe, needs_clip, quality_figures
from evaluation.figures.record import Figure
from evaluation.figures.stored import write_figures
from evaluation.pictures.folders import PictureSet, check_reference, read_pictures
from evaluation.protocols.command import clip_of
from evaluation.scores.answers import grouped
from scorers.clip import VIT_L14, CLIPScorer
from scorers.features import CLIPFeatures, FeatureExtractor, extract
from scorers.inception import InceptionFeatures


@dataclass(frozen=True)
class Evaluated:
    """A set of pictures, what made it, and the pictures that it is compared with."""

    method: str
    pictures: PictureSet
    reference: PictureSet | None = None


def read_sets(methods: Sequence[str], folders: Sequence[Path], references: Sequence[Path] = ()) -> list[Evaluated]:
    """Each folder with its method and its reference; one method or reference may stand for all.

    Raises:
        UserError: see `read_pictures` and `check_reference`; or two sets would have the same line in the table.
    """
    count = len(folders)
    compared: list[PictureSet | None] = [read_pictures(folder) for folder in references]
    sets = [
        Evaluated(method, read_pictures(folder), reference)
        for method, folder, reference in zip(
            list(methods) * count if len(methods) == 1 else methods,
            folders,
            compared * count if len(compared) == 1 else compared or [None] * count,
            strict=True,
        )
    ]
    for of in sets:
        if of.reference is not None:
            check_reference(of.pictures, of.reference)
    if len({(of.method, of.pictures.name) for of in sets}) < count:
        raise UserError("--eval_image_paths: folders of the same name need a --method each, to be told apart")
    return sets


def image_quality(
    sets: Sequence[Evaluated],
    metrics: Sequence[MetricFlag],
    save_path: Path,
    *,
    inception_path: Path | None = None,
    clip_model: str | None = None,
    features_dir: Path | None = None,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
    num_workers: int = 2,
) -> list[Figure]:
    """Measure sets of pictures and write the figures to <save_path>/figures/quality_<set>.json.

    Args:
        metrics: isc needs `inception_path`; fid and kid are of CLIP's features without it.
        clip_model: a folder or hub id; by default the CLIP beside the base that made the pictures, else LiVO's.
        features_dir: where features are kept, by default <save_path>/features.

    Returns:
        The figures; on the main process alone.

    Raises:
        UserError: what cannot be measured on these sets, or a network or picture is missing or broken.
    """
    for of in sets:
        check_sets(metrics, of.pictures, of.reference)
    inception, clip = None, None
    if inception_path is not None:
        inception = InceptionFeatures.from_file(inception_path, device=str(device))
    if needs_clip(metrics, inception is not None):
        name = clip_model or default_clip(sets[0].pictures)
        clip = CLIPFeatures(CLIPScorer.from_pretrained(name, device=str(device), batch_size=batch_size))
    extractors: list[FeatureExtractor] = [extractor for extractor in (clip, inception) if extractor is not None]
    every = [pictures for of in sets for pictures in (of.pictures, of.reference) if pictures is not None]
    features = extract(
        {key: file for pictures in every for key, file in zip(pictures.keys, pictures.files, strict=True)},
        extractors,
        features_dir or save_path / "features",
        batch_size=batch_size,
        num_workers=num_workers,
    )
    if not process_state().is_main_process:
        return []
    found = dict(zip([extractor.name for extractor in extractors], features, strict=True))
    by_clip = found[clip.name] if clip is not None else None
    by_inception = found[inception.name] if inception is not None else None
    figures = []
    for of in sets:
        figures += quality_figures(
            metrics,
            describe(of.pictures, by_clip, by_inception),
            None if of.reference is None else describe(of.reference, by_clip, by_inception),
            clip=clip,
            inception=inception,
            method=of.method,
        )
    for same in grouped(figures, attrgetter("group")):
        write_figures(save_path / "figures" / f"quality_{same[0].group}.json", same)
    return figures


def default_clip(pictures: PictureSet) -> str:
    """The CLIP beside the base that made the pictures, as their run.json names it; else LiVO's."""
    try:
        base = json.loads((pictures.folder / "run.json").read_text(encoding="utf-8"))["base_name"]
    except (OSError, ValueError, KeyError, TypeError):
        return VIT_L14
    return clip_of(str(base))
