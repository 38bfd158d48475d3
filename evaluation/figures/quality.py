"""Image quality of a set of pictures from their features: figures with intervals.

FID and KID are called so only with Inception's features. With CLIP's, unit vectors times √D, they are `clip-fid` and
`clip-kid`, whose values mean nothing beside published ones.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from diffusion_base.errors import UserError
from evaluation.figures.distances import distance_interval, prompt_values
from evaluation.figures.fidelity import cmmd, fid, inception_score, kid
from evaluation.figures.intervals import Interval, mean_interval
from evaluation.figures.metrics import metric_of
from evaluation.figures.record import Figure, Subject, sample_key
from evaluation.pictures.folders import PictureSet, pair
from scorers.features import CLIPFeatures
from scorers.inception import InceptionFeatures

MetricFlag = Literal["isc", "fid", "kid", "clip", "cmmd", "diversity", "similarity"]
DISTANCES = {"fid", "kid", "cmmd"}
NEED_REFERENCE = {*DISTANCES, "similarity"}
NEED_CLIP = {"clip", "cmmd", "diversity", "similarity"}
ENOUGH = 2048  # pictures of each set below which FID says little


@dataclass(frozen=True)
class Described:
    """A set of pictures with their features (n, D) in float64; None where no metric needs them."""

    pictures: PictureSet
    clip: Tensor | None
    inception: Tensor | None

    @property
    def labels(self) -> list[str]:
        """Which pictures belong together: those of a prompt; without prompts each is by itself."""
        return list(self.pictures.prompts or map(str, self.pictures.files))

    def clip_by_prompt(self) -> dict[str, Tensor]:
        """CLIP's features (k, D) of each prompt's pictures; without prompts, all pictures are one group."""
        assert self.clip is not None
        places: dict[str, list[int]] = {}
        for i, prompt in enumerate(self.pictures.prompts or [""] * len(self.clip)):
            places.setdefault(prompt, []).append(i)
        return {prompt: self.clip[rows] for prompt, rows in places.items()}


def describe(
    pictures: PictureSet, clip: Mapping[str, Tensor] | None, inception: Mapping[str, Tensor] | None
) -> Described:
    """A set with its features, of those that `scorers.features.extract` has by key."""

    def rows(features: Mapping[str, Tensor] | None) -> Tensor | None:
        return None if features is None else torch.stack([features[key] for key in pictures.keys]).double()

    return Described(pictures, rows(clip), rows(inception))


def needs_clip(metrics: Sequence[str], has_inception: bool) -> bool:
    """FID and KID are of CLIP's features where there is no Inception."""
    return bool(NEED_CLIP & set(metrics)) or (not has_inception and bool({"fid", "kid"} & set(metrics)))


def check_sets(metrics: Sequence[str], made: PictureSet, reference: PictureSet | None) -> None:
    """Refuse what cannot be measured, before anything heavy is loaded.

    Raises:
        UserError: no prompts where they are needed, prompts that differ, or too few pictures.
    """
    where, remedy = made.folder, "or take {} out of --metrics"
    if "clip" in metrics and made.prompts is None:
        raise UserError(
            f"{where} does not say its prompts, which the CLIP score needs: add a manifest.jsonl with a line "
            f'{{"file": …, "prompt": …}} for each picture, {remedy.format("clip")}'
        )
    if "diversity" in metrics and max(Counter(made.prompts or [""] * len(made.files)).values()) < 2:
        raise UserError(f"{where}: diversity needs two pictures of a prompt; make more, {remedy.format('diversity')}")
    distances = [metric for metric in metrics if metric in DISTANCES]
    if distances and reference is not None and min(len(made.files), len(reference.files)) < 2:
        raise UserError(f"{where}: {distances[0]} needs two pictures at least, and two of the reference")
    if "similarity" in metrics and reference is not None:
        pair(made, reference)


def quality_figures(
    metrics: Sequence[str],
    made: Described,
    reference: Described | None,
    *,
    clip: CLIPFeatures | None,
    inception: InceptionFeatures | None,
    method: str,
) -> list[Figure]:
    """A figure a metric.

    Args:
        metrics: of `MetricFlag`, checked by `check_sets`.
        clip, inception: what made the features; with Inception, FID and KID are of its features, else of CLIP's.
    """
    figures = []
    for metric in metrics:
        judge = clip if metric in NEED_CLIP or inception is None else inception
        assert judge is not None
        compared = reference if metric in NEED_REFERENCE else None
        name, interval, per_unit = _measure(metric, made, compared, clip, inception)
        value, low, high = interval
        figures.append(
            Figure(
                metric=name,
                method=method,
                subject=Subject("image quality", made.pictures.name, made.pictures.name, prompt_set=made.pictures.name),
                value=value,
                low=low,
                high=high,
                n=len(made.pictures.files),
                per_unit={} if made.pictures.prompts is None else per_unit,
                unit="prompt",
                judge=judge.name,
                version=judge.version,
                threshold=None,
                sample=sample_key(zip(made.labels, made.pictures.seeds, strict=True)),
                reference=None if compared is None else str(compared.pictures.folder),
                warning=_warning(name, made, compared),
            )
        )
    return figures


def clip_scores(made: Described, clip: CLIPFeatures) -> dict[str, float]:
    """Per prompt the mean over its pictures of max(100 · cosine of picture and prompt, 0) (Hessel et al. 2021)."""
    groups = made.clip_by_prompt()
    texts = clip.scorer.text_features(list(groups)).double()
    return {
        prompt: float((100 * features @ text).clamp_min(0).mean())
        for (prompt, features), text in zip(groups.items(), texts, strict=True)
    }


def diversities(made: Described) -> dict[str, float]:
    """Per prompt with several pictures the mean of 1 − cosine over their pairs; without prompts, over all pairs.

    Of n unit vectors the cosines of all pairs, each twice, sum to |Σ f|² − n.
    """
    return {
        prompt: 1 - float(f.sum(0).square().sum() - len(f)) / (len(f) * (len(f) - 1))
        for prompt, f in made.clip_by_prompt().items()
        if len(f) > 1
    }


def similarities(made: Described, reference: Described) -> dict[str, float]:
    """Per prompt the mean cosine of each picture with the reference's of the same prompt and number: 1 is unchanged."""
    assert made.clip is not None and reference.clip is not None
    groups: dict[str, list[float]] = {}
    for i, j in pair(made.pictures, reference.pictures):
        groups.setdefault(made.labels[i], []).append(float(made.clip[i] @ reference.clip[j]))
    return {prompt: float(np.mean(cosines)) for prompt, cosines in groups.items()}


def _measure(
    metric: str,
    made: Described,
    reference: Described | None,
    clip: CLIPFeatures | None,
    inception: InceptionFeatures | None,
) -> tuple[str, Interval, dict]:
    """A metric's name, its value with the interval, and the figure a prompt whose mean is the value."""
    if metric == "isc":
        assert inception is not None and made.inception is not None
        # by content, so that the splits depend on no other order
        order = sorted(range(len(made.labels)), key=lambda i: made.pictures.keys[i])
        score = inception_score(inception.logits(made.inception)[order])
        labels = [made.labels[i] for i in order]
        return "is", distance_interval(score, labels, [], least=1.0), prompt_values(score, labels, [])
    if metric == "clip":
        assert clip is not None
        return "clip score", *_mean("clip score", clip_scores(made, clip))
    if metric == "diversity":
        return metric, *_mean(metric, diversities(made))
    assert reference is not None
    if metric == "similarity":
        return metric, *_mean(metric, similarities(made, reference))
    on_clip = metric == "cmmd" or inception is None
    x, y = (side.clip if on_clip else side.inception for side in (made, reference))
    assert x is not None and y is not None
    name = metric
    if on_clip and metric != "cmmd":
        # unit vectors have small entries; times √D they are of size 1, as KID's kernel expects
        name, x, y = f"clip-{metric}", x * x.shape[1] ** 0.5, y * y.shape[1] ** 0.5
    distance = {"cmmd": cmmd, "kid": kid, "fid": fid}[metric](x, y)
    sides = made.labels, reference.labels
    least = -np.inf if metric == "kid" else 0.0
    return name, distance_interval(distance, *sides, least=least), prompt_values(distance, *sides)


def _mean(metric: str, per_prompt: dict[str, float]) -> tuple[Interval, dict[str, float]]:
    return mean_interval(list(per_prompt.values()), bounds=metric_of(metric).bounds), per_prompt


def _warning(name: str, made: Described, reference: Described | None) -> str | None:
    if reference is None or name not in ("fid", "clip-fid"):
        return None
    fewest = min(len(made.pictures.files), len(reference.pictures.files))
    return f"{name} of {fewest} pictures is biased upwards: take {ENOUGH} or more" if fewest < ENOUGH else None
