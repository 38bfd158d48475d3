"""Try a direction's steps and weights, and recommend a point.

    python -m latent_directions.sweep --directions runs/gender --direction female --choices male female \\
        --subjects pilot nurse --judge scorers:clip --output_dir runs/gender/sweep

At every point a judge says what the pictures show and whether their subject is right; a CLIP says how they fit their
prompts, how they differ among themselves, and how like they are to the base's of the same noise. Results: `sweep.json`
(every point, and the one that is recommended, with the reason), `weights.json` (a weight a subject, which
LatentDirection takes), `sweep.png` (maps of all points), `pictures.png`; the pictures lie in `imgs/`. An interrupted
sweep goes on.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Le
from PIL import Image
from torch import Tensor

from diffusion_base.arguments import BaseArguments, Count, SamplingArguments, WholeNumber, check_ranges, parse
from diffusion_base.data import load_image
from diffusion_base.errors import UserError, run
from diffusion_base.files import write_json
from diffusion_base.generation import generate_set
from diffusion_base.pipeline import Pipeline
from diffusion_base.processes import process_state
from diffusion_base.training.validation import grid
from latent_directions.directions import PUBLISHED_FIT, Directions, load_directions
from latent_directions.inference import LatentDirection
from latent_directions.maps import draw_maps
from latent_directions.recommend import Goal, Point, even_weights, recommended
from scorers.clip import VIT_L14, CLIPScorer
from scorers.protocols import AttributeScorer, Judge, load_judge

APART = 1000  # seeds of two subjects


@dataclass(kw_only=True)
class Arguments:
    base: BaseArguments = field(default_factory=lambda: BaseArguments("stabilityai/stable-diffusion-xl-base-1.0"))
    directions: Path
    """What fit.py wrote, or .npy files."""
    direction: str
    """A class, or a sum such as "female + 0.5*dark"."""
    output_dir: Path
    """Where the results go."""
    subjects: tuple[str, ...]
    """Who is in the pictures: the judge must know them."""
    choices: tuple[str, ...]
    """What the judge chooses from, e.g. male female."""
    shown: str | None = None
    """Which choice the direction is to show; by default what it is called."""
    template: str = "a photo of a {subject}"
    """Prompt of a subject."""
    judge: str = "scorers:clip"
    """Who says what the pictures show, as package:path?option=value."""
    clip: str = VIT_L14
    """CLIP that measures fit, diversity and similarity: a folder or hub id."""
    fit: str = PUBLISHED_FIT
    """svm, logistic or means."""
    steps: tuple[Annotated[int, Ge(-1)], ...] = ()
    """Of the directions; by default all."""
    weights: tuple[float, ...] = (-12.0, -8.0, -4.0, 4.0, 8.0, 12.0)
    """To try, beside 0, the base."""
    goal: Goal = "shown"
    """shown: the choice in every picture, as where members are dealt out. even: all choices equally often at one weight
    for all, as in the paper."""
    images_per_subject: Annotated[Count, Le(APART)] = 8
    """At every point; two or more."""
    seed: WholeNumber = 100_000
    """Of the first picture; far from those of other commands."""
    sampling: SamplingArguments = field(default_factory=SamplingArguments)

    def __post_init__(self) -> None:
        check_ranges(self)
        if "{subject}" not in self.template:
            raise UserError(f"--template {self.template!r} must hold {{subject}}")
        if self.wanted not in self.choices:
            raise UserError(f"--shown {self.wanted}: it must be one of --choices {' '.join(self.choices)}")
        if self.images_per_subject < 2:
            raise UserError("--images_per_subject must be 2 or more: diversity is of pairs")

    @property
    def wanted(self) -> str:
        return self.shown or self.direction


@dataclass(frozen=True)
class Sweep:
    """The points of a sweep, made and judged one by one; see `sweep`."""

    pipeline: Pipeline
    directions: Directions
    arguments: Arguments
    judge: Judge
    clip: CLIPScorer

    def records(self) -> list[dict]:
        a = self.arguments
        return [
            {"file": f"{s}_{i}.png", "prompt": a.template.replace("{subject}", subject), "seed": a.seed + APART * s + i,
             "subject": subject}
            for s, subject in enumerate(a.subjects)
            for i in range(a.images_per_subject)
        ]  # fmt: skip

    def folder(self, step: int, weight: float) -> Path:
        """Of a point's pictures."""
        name = f"step{step}_weight{weight:g}" if weight else "base"
        return self.arguments.output_dir / "imgs" / name

    def make_pictures(self, step: int, weight: float) -> None:
        """A point's pictures, unless they are there."""
        a, folder = self.arguments, self.folder(step, weight)
        moved = LatentDirection(
            self.directions, a.direction, pipeline=self.pipeline, fit=a.fit, step=step, weight=weight
        )
        generate_set(
            self.pipeline,
            self.records(),
            folder,
            [moved] if weight else [],
            accelerator=process_state(),
            name=folder.name,
            images_dir=".",
            **a.sampling.options(),
        )

    def point(self, step: int, weight: float, base: Tensor | None) -> tuple[Point, Tensor]:
        """What the pictures show, and CLIP's features of them (n, D); `base` has the base's."""
        a, folder = self.arguments, self.folder(step, weight)
        self.make_pictures(step, weight)
        images: list[Image.Image] = [load_image(folder / record["file"]) for record in self.records()]
        prompts = [record["prompt"] for record in self.records()]
        assert isinstance(self.judge, AttributeScorer)
        said = self.judge.classify(images, prompts, a.choices).argmax(-1).view(len(a.subjects), -1)
        subjects = self.judge.classify(images, [a.template.replace("{subject}", "{choice}")] * len(images), a.subjects)
        right = subjects.argmax(-1).view(len(a.subjects), -1) == torch.arange(len(a.subjects))[:, None]
        features = self.clip.image_features(images).double()
        texts = self.clip.text_features(list(dict.fromkeys(prompts))).double()
        of_subjects = features.view(len(a.subjects), -1, features.shape[-1])  # (subjects, n, D)
        n = of_subjects.shape[1]
        counts = torch.stack([(said == k).double().mean(1) for k in range(len(a.choices))])  # (choices, subjects)
        found = Point(
            step=step,
            weight=weight,
            shares=dict(zip(a.subjects, counts[a.choices.index(a.wanted)].tolist(), strict=True)),
            imbalances=dict(zip(a.subjects, (counts.amax(0) - counts.amin(0)).tolist(), strict=True)),
            accuracy=float(right.double().mean()),
            clip_score=float((100 * of_subjects @ texts[:, :, None]).clamp_min(0).mean()),
            # of n unit vectors the cosines of all pairs, each twice, sum to |Σ f|² − n
            diversity=float(1 - ((of_subjects.sum(1).square().sum(-1) - n) / (n * (n - 1))).mean()),
            similarity=1.0 if base is None else float((features * base).sum(-1).mean()),
        )
        return found, features


def sweep(pipeline: Pipeline, arguments: Arguments) -> tuple[list[Point], Point, str]:
    """All points, the one that is recommended, and why; writes the files.

    Raises:
        UserError: no such direction, or a judge that does not know the choices or the subjects.
    """
    a = arguments
    directions = load_directions(a.directions, pipeline)
    judge = load_judge(a.judge, str(pipeline.device))
    if not isinstance(judge, AttributeScorer):
        raise UserError(f"--judge {judge.name} cannot say which of {', '.join(a.choices)} a picture shows")
    clip = CLIPScorer.from_pretrained(a.clip, device=str(pipeline.device))
    known = sorted({step for _, _, step in directions.tensors})
    steps, weights = list(a.steps) or known, sorted({*a.weights} - {0.0})
    of = Sweep(pipeline, directions, a, judge, clip)
    base, features = of.point(steps[0], 0.0, None)
    points = [base] + [of.point(step, weight, features)[0] for step in steps for weight in weights]
    best, reason = recommended(points, a.goal)
    if process_state().is_main_process:
        table = even_weights([base, *(point for point in points[1:] if point.step == best.step)], 1 / len(a.choices))
        table.save(a.output_dir / "weights.json")
        settings = {"direction": a.direction, "fit": a.fit, "shown": a.wanted, "goal": a.goal, "judge": judge.name}
        found = {"recommended": asdict(best), "reason": reason, "points": [asdict(point) for point in points]}
        write_json(a.output_dir / "sweep.json", settings | found, indent=1)
        draw_maps(points, best, a.wanted).savefig(a.output_dir / "sweep.png", dpi=120)
        strip(of, steps, weights).save(a.output_dir / "pictures.png", optimize=True)
    return points, best, reason


def strip(of: Sweep, steps: Sequence[int], weights: Sequence[float]) -> Image.Image:
    """The first picture of the first subject: a row a step, a column a weight."""
    columns = sorted({*weights, 0.0})
    return grid([[load_image(of.folder(step, weight) / "0_0.png") for weight in columns] for step in steps])


def main(argv: Sequence[str] | None = None) -> Path:
    """Sweep, and return the folder."""
    arguments = parse(Arguments, argv, prog="latent_directions/sweep.py", description=__doc__)
    pipeline = arguments.base.load(process_state().device)
    _, _, reason = sweep(pipeline, arguments)
    print(f"{reason}\n\nmaps: {arguments.output_dir / 'sweep.png'}")
    return arguments.output_dir


if __name__ == "__main__":
    run(main)
