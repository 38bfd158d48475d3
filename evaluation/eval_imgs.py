"""Image quality of folders of pictures: FID, KID, IS, CMMD, CLIP score, diversity, and similarity to a reference.

    python evaluation/eval_imgs.py --metrics isc fid clip --inception_path pt_inception-2015-12-05-6726825d.pth \
        --eval_image_paths runs/livo/imgs/bias_gender_career --ref_image_paths runs/base/imgs/bias_gender_career
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffusion_base.arguments import Count, WholeNumber, check_ranges, parse
from diffusion_base.errors import UserError, run
from diffusion_base.processes import process_state, usable_device
from evaluation.figures.quality import NEED_REFERENCE, MetricFlag
from evaluation.figures.record import Figure, table
from evaluation.protocols.image_quality import image_quality, read_sets


@dataclass
class Arguments:
    """Measure the quality of pictures, in one pass over them."""

    eval_image_paths: list[Path]
    """Folders of pictures to judge: generated sets, LiVO's layout, or pictures and nothing else."""
    ref_image_paths: list[Path] = field(default_factory=list)
    """What each of them is compared with by fid, kid, cmmd and similarity: a folder each, or one for all."""
    metrics: list[MetricFlag] = field(default_factory=lambda: ["isc", "fid", "clip"])
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
    batch_size: Count = 64
    """Pictures at a time."""
    num_workers: WholeNumber = 2
    """Processes that decode pictures; 0 decodes in the main one."""

    def __post_init__(self) -> None:
        check_ranges(self)
        for flag, given in (("--ref_image_paths", self.ref_image_paths), ("--method", self.method)):
            if len(given) > 1 and len(given) != len(self.eval_image_paths):
                raise UserError(f"{flag} takes one for all or as many as --eval_image_paths, not {len(given)}")
        if not self.eval_image_paths:
            raise UserError("--eval_image_paths needs a folder at least")
        if not self.ref_image_paths and (without := sorted(NEED_REFERENCE & set(self.metrics))):
            raise UserError(f"--metrics {' '.join(without)} needs --ref_image_paths, the pictures to compare with")


def main(argv: Sequence[str] | None = None) -> list[Figure]:
    arguments = parse(Arguments, argv, prog="eval_imgs.py")
    state = process_state()
    metrics = list(dict.fromkeys(arguments.metrics))
    if arguments.inception_path is None and "isc" in metrics:
        metrics.remove("isc")
        if not metrics:
            raise UserError("--metrics isc needs --inception_path, the weights of FID's Inception")
        state.print("There is no IS without --inception_path: it is made of Inception's classes.")
    figures = image_quality(
        read_sets(arguments.method, arguments.eval_image_paths, arguments.ref_image_paths),
        metrics,
        arguments.save_path,
        inception_path=arguments.inception_path,
        clip_model=arguments.clip_model,
        features_dir=arguments.features_dir,
        device=usable_device(arguments.device or state.device),
        batch_size=arguments.batch_size,
        num_workers=arguments.num_workers,
    )
    if state.is_main_process:
        print(table(figures))
        for warning in dict.fromkeys(figure.warning for figure in figures if figure.warning):
            print(f"warning: {warning}")
    return figures


if __name__ == "__main__":
    run(main)
