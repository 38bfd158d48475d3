"""Image quality of folders of pictures: FID, KID, IS, CMMD, CLIP score, diversity, and similarity to a reference.

    python evaluation/eval_imgs.py --metrics isc fid clip --inception_path pt_inception-2015-12-05-6726825d.pth \
        --eval_image_paths runs/livo/imgs/bias_gender_career --ref_image_paths runs/base/imgs/bias_gender_career
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffusion_base.arguments import parse
from diffusion_base.errors import UserError, run
from diffusion_base.processes import process_state, usable_device
from evaluation.figures.from_scores import by, table
from evaluation.figures.quality import NEED_REFERENCE, Metric, check_sets, describe, needs_clip, quality_figures
from evaluation.pictures.folders import PictureSet, check_reference, read_pictures
from evaluation.protocols.measuring import clip_of, write_figures
from scorers.clip import VIT_L14, CLIPScorer
from scorers.features import CLIPFeatures, FeatureExtractor, extract
from scorers.inception import InceptionFeatures


@dataclass
class Arguments:
    """Measure the quality of pictures, in one pass over them."""

    eval_image_paths: list[Path]
    """Folders of pictures to judge: generated sets, LiVO's layout, or pictures and nothing else."""
    ref_image_paths: list[Path] = field(default_factory=list)
    """What each of them is compared with by fid, kid, cmmd and similarity: a folder each, or one for all."""
    metrics: list[Metric] = field(default_factory=lambda: ["isc", "fid", "clip"])
    """isc and clip of the pictures, fid, kid and cmmd to the reference; diversity of each prompt's pictures; similarity
    to the reference's picture of the same prompt and number."""
    inception_path: Path | None = None
    """FID's Inception weights, pt_inception-2015-12-05-6726825d.pth; without them, CLIP's features serve fid and kid,
    which are then called clip-fid and clip-kid, and there is no IS."""
    clip_model: str | None = None
    """A folder or hub id. Default: the CLIP beside the base that made the pictures, else LiVO's, ViT-L/14."""
    method: list[str] = field(default_factory=lambda: ["pictures"])
    """What the table calls each evaluated folder's method, or all of them."""
    save_path: Path = Path("runs/eval_imgs")
    """Folder for figures/."""
    features_dir: Path | None = None
    """Where features are kept and found again, by default <save_path>/features; several runs may share it."""
    device: str | None = None
    """Where the networks run, e.g. cuda:0; by default the GPU where there is one."""
    batch_size: int = 64
    """Pictures at a time."""
    num_workers: int = 2
    """Processes that decode pictures; 0 decodes in the main one."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.num_workers < 0:
            raise UserError("--batch_size must be 1 or more, and --num_workers 0 or more")
        for flag, given in (("--ref_image_paths", self.ref_image_paths), ("--method", self.method)):
            if len(given) > 1 and len(given) != len(self.eval_image_paths):
                raise UserError(f"{flag} takes one for all or as many as --eval_image_paths, not {len(given)}")
        if not self.eval_image_paths:
            raise UserError("--eval_image_paths needs a folder at least")
        if not self.ref_image_paths and (without := sorted(NEED_REFERENCE & set(self.metrics))):
            raise UserError(f"--metrics {' '.join(without)} needs --ref_image_paths, the pictures to compare with")


def read_pairs(arguments: Arguments) -> list[tuple[str, PictureSet, PictureSet | None]]:
    """Each evaluated set with its method and its reference.

    Raises:
        UserError: see `read_pictures` and `check_reference`; or two sets would have the same line in the table.
    """
    count = len(arguments.eval_image_paths)
    made = [read_pictures(folder) for folder in arguments.eval_image_paths]
    references: list[PictureSet | None] = [read_pictures(folder) for folder in arguments.ref_image_paths]
    references = references * count if len(references) == 1 else references or [None] * count
    methods = arguments.method * count if len(arguments.method) == 1 else arguments.method
    pairs = list(zip(methods, made, references, strict=True))
    for _, pictures, reference in pairs:
        if reference is not None:
            check_reference(pictures, reference)
    if len({(method, pictures.name) for method, pictures, _ in pairs}) < count:
        raise UserError("--eval_image_paths: folders of the same name need a --method each, to be told apart")
    return pairs


def default_clip(pictures: PictureSet) -> str:
    """The CLIP beside the base that made the pictures, as their run.json names it; else LiVO's."""
    try:
        base = json.loads((pictures.folder / "run.json").read_text(encoding="utf-8"))["base_name"]
    except (OSError, ValueError, KeyError, TypeError):
        return VIT_L14
    return clip_of(str(base))


def main(argv: Sequence[str] | None = None) -> list[dict]:
    arguments = parse(Arguments, argv, prog="eval_imgs.py")
    state = process_state()
    metrics = list(dict.fromkeys(arguments.metrics))
    if arguments.inception_path is None and "isc" in metrics:
        metrics.remove("isc")
        if not metrics:
            raise UserError("--metrics isc needs --inception_path, the weights of FID's Inception")
        state.print("There is no IS without --inception_path: it is made of Inception's classes.")
    pairs = read_pairs(arguments)
    for _, pictures, reference in pairs:
        check_sets(metrics, pictures, reference)
    device = str(usable_device(arguments.device or state.device))
    inception, clip = None, None
    if arguments.inception_path is not None:
        inception = InceptionFeatures.from_file(arguments.inception_path, device=device)
    if needs_clip(metrics, inception is not None):
        name = arguments.clip_model or default_clip(pairs[0][1])
        clip = CLIPFeatures(CLIPScorer.from_pretrained(name, device=device, batch_size=arguments.batch_size))
    sets = [pictures for _, made, reference in pairs for pictures in (made, reference) if pictures is not None]
    extractors: list[FeatureExtractor] = [extractor for extractor in (clip, inception) if extractor is not None]
    features = extract(
        {key: file for pictures in sets for key, file in zip(pictures.keys, pictures.files, strict=True)},
        extractors,
        arguments.features_dir or arguments.save_path / "features",
        batch_size=arguments.batch_size,
        num_workers=arguments.num_workers,
    )
    if not state.is_main_process:
        return []
    found = dict(zip([extractor.name for extractor in extractors], features, strict=True))
    by_clip = found[clip.name] if clip is not None else None
    by_inception = found[inception.name] if inception is not None else None
    figures = []
    for method, pictures, reference in pairs:
        figures += quality_figures(
            metrics,
            describe(pictures, by_clip, by_inception),
            None if reference is None else describe(reference, by_clip, by_inception),
            clip=clip,
            inception=inception,
            method=method,
            group=pictures.name,
        )
    for rows in by(figures, "group"):
        write_figures(arguments.save_path / "figures" / f"quality_{rows[0]['group']}.json", rows)
    print(table(figures))
    for warning in dict.fromkeys(row["warning"] for row in figures if row["warning"]):
        print(f"warning: {warning}")
    return figures


if __name__ == "__main__":
    run(main)
