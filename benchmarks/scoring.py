"""How much one pass over the pictures saves: IS, FID, CLIP score and CLIP bias with shared features, and without.

    python benchmarks/scoring.py --pictures 2000 --resolution 512

The pictures are the miniature's renders, enlarged. "Together", `scorers.features.extract` serves all four metrics;
"apart", each decodes all pictures and runs its own network, by the same means; "plain", apart too, as a script would do
it that is written for one metric: pictures are decoded by the process that computes, and Inception is fed as it is
published (channels first). FID's reference is as many random features. Speed is a ratio within this run, and the
figures must agree.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffusion_base.arguments import Count, WholeNumber, parse
from diffusion_base.errors import run
from diffusion_base.identity import content_keys
from diffusion_base.processes import process_state
from evaluation.figures.fidelity import fid, inception_score
from evaluation.figures.formulas import d1
from miniature.drawing import render
from miniature.models import asset_folder
from miniature.world import OCCUPATIONS, draw_person
from scorers.clip import CLIPScorer
from scorers.features import CLIPFeatures, FeatureExtractor, extract
from scorers.inception import SIDE, InceptionFeatures, InceptionV3

GENDERS = ("male", "female")
Features = list[dict[str, Tensor]]


@dataclass
class Arguments:
    """Time one pass over the pictures against one pass a metric."""

    pictures: Count = 2000
    """How many are rendered and scored."""
    resolution: Count = 512
    """Their size in pixels."""
    clip_model: str = str(asset_folder() / "clip")
    """A folder or hub id."""
    inception_path: Path | None = None
    """FID's Inception weights; random ones take the same time."""
    device: str | None = None
    """By default the GPU where there is one."""
    batch_size: Count = 64
    """Pictures at a time."""
    num_workers: WholeNumber = 2
    """Processes that decode pictures."""


def random_inception(seed: int = 0) -> InceptionV3:
    """Weights large enough to tell pictures apart (convolutions as He et al. 2015)."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = InceptionV3()
        for weight in model.parameters():
            if weight.ndim == 4:
                torch.nn.init.kaiming_normal_(weight, nonlinearity="relu")
        torch.nn.init.normal_(model.fc.weight)
    return model


class PlainInception(InceptionFeatures):
    """Fed channels first."""

    name = "inception-plain"

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        return self.model(pixels.to(self.model.fc.weight.device)).float().cpu()


def draw(folder: Path, count: int, resolution: int) -> tuple[dict[str, Path], list[str]]:
    """Rendered people of every occupation in turn, by key of content, and each one's prompt."""
    rng = np.random.default_rng(0)
    files, prompts = [], []
    for i in range(count):
        occupation = OCCUPATIONS[i % len(OCCUPATIONS)]
        files.append(folder / f"{i}.png")
        image = render(draw_person(rng, occupation)).resize((resolution, resolution), Image.Resampling.BICUBIC)
        image.save(files[-1], compress_level=1)
        prompts.append(f"a photo of a {occupation}")
    keyed = {key: (file, p) for key, file, p in zip(content_keys(files), files, prompts, strict=True)}
    return {key: file for key, (file, _) in keyed.items()}, [prompt for _, prompt in keyed.values()]


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    arguments = parse(Arguments, argv, prog="scoring.py")
    device = arguments.device or str(process_state().device)
    if arguments.inception_path is None:
        inception = InceptionFeatures(random_inception().to(device))
    else:
        inception = InceptionFeatures.from_file(arguments.inception_path, device=device)
    scorer = CLIPScorer.from_pretrained(arguments.clip_model, device=device, batch_size=arguments.batch_size)
    clip = CLIPFeatures(scorer)
    width = inception.model.fc.in_features
    reference = torch.from_numpy(np.random.default_rng(1).random((arguments.pictures, width)))

    with tempfile.TemporaryDirectory() as folder:
        (pictures_folder := Path(folder) / "pictures").mkdir()
        pictures, prompts = draw(pictures_folder, arguments.pictures, arguments.resolution)

        def features(extractors: Sequence[FeatureExtractor], name: str, num_workers: int) -> Features:
            kept = Path(folder) / name
            return extract(pictures, extractors, kept, batch_size=arguments.batch_size, num_workers=num_workers)

        def isc(pool3: Tensor) -> float:
            return inception_score(inception.logits(pool3.double())).value

        def frechet(pool3: Tensor) -> float:
            return fid(pool3.double(), reference).value

        def clip_score(vectors: Tensor) -> float:
            texts = scorer.text_features(prompts)
            return float((100 * (vectors * texts).sum(-1)).clamp_min(0).mean())

        def bias(vectors: Tensor) -> float:
            answers = scorer.classify_features(vectors, prompts, GENDERS).argmax(-1)
            return float(d1(answers.bincount(minlength=len(GENDERS)).numpy()))

        metrics: dict[str, tuple[FeatureExtractor, Callable[[Tensor], float]]] = {
            "IS": (inception, isc),
            "FID": (inception, frechet),
            "CLIP score": (clip, clip_score),
            "CLIP bias D1": (clip, bias),
        }

        def apart(kind: str, replaced: dict[str, FeatureExtractor], num_workers: int) -> dict[str, float]:
            found = {}
            for name, (extractor, metric) in metrics.items():
                extractor = replaced.get(extractor.name, extractor)
                (rows,) = features([extractor], f"{kind} {name}", num_workers)
                found[name] = metric(torch.stack(list(rows.values())))
            return found

        def together() -> dict[str, float]:
            extracted = features([inception, clip], "together", arguments.num_workers)
            rows = dict(zip((inception.name, clip.name), extracted, strict=True))
            return {
                name: metric(torch.stack(list(rows[extractor.name].values())))
                for name, (extractor, metric) in metrics.items()
            }

        inception.features(torch.zeros(1, 3, SIDE, SIDE))  # the first call of a network is slower
        found = {
            "together": timed(together),
            "apart": timed(lambda: apart("apart", {}, arguments.num_workers)),
            "plain": timed(lambda: apart("plain", {inception.name: PlainInception(inception.model)}, 0)),
        }

    figures = {kind: figures for kind, (figures, _) in found.items()}
    seconds = {kind: seconds for kind, (_, seconds) in found.items()}
    print("".join(f"{kind:>18}" for kind in ("", *found)))
    for name in metrics:
        print(f"{name:>18}" + "".join(f"{of[name]:18.6f}" for of in figures.values()))
    differences = {
        kind: max(abs(of[name] - figures["together"][name]) / max(abs(of[name]), 1e-9) for name in metrics)
        for kind, of in figures.items()
    }
    ratios = {kind: seconds[kind] / seconds["together"] for kind in ("apart", "plain")}
    print(
        f"{arguments.pictures} pictures of {arguments.resolution} px on {device}: together {seconds['together']:.1f} s"
        + "".join(
            f"; {kind} {seconds[kind]:.1f} s, ratio {ratio:.2f}, largest relative difference {differences[kind]:.1e}"
            for kind, ratio in ratios.items()
        )
    )
    return {"ratio": ratios["apart"], "plain": ratios["plain"], "difference": max(differences.values())}


def timed(work: Callable[[], dict[str, float]]) -> tuple[dict[str, float], float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


if __name__ == "__main__":
    run(main)
