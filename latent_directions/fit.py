"""Fit directions on collected latents: at every kept step, for every class against the rest, in three ways.

    python -m latent_directions.fit --train_data_dir datasets/gender --output_dir runs/gender

Several folders of one base are joined. Results: `directions.safetensors`; the same as the authors' `.npy` in `svm/`,
`logistic/` and `means/`; and the table of fits, printed and in `fits.csv`. A direction is fitted on all latents; its
accuracy is that of a fit on 60% of them, on the other 40%: by seed, all pictures of a seed being on the same side, and
as the first implementation splits them, which lets pictures of one noise lie on both.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm as normal

from diffusion_base.arguments import Count, WholeNumber, parse
from diffusion_base.errors import UserError, run
from diffusion_base.files import write_text
from latent_directions.dataset import NOISE, Collection, checked, read_collection
from latent_directions.directions import Directions
from latent_directions.solvers import FITS, Array, Labels, Separator, gram, means, normals

TRAINED_ON = 0.6
ALIKE = 1e-6  # of the longest latent: so near are the means of classes that are the same
TABLE = "fits.csv"


@dataclass(frozen=True)
class Row:
    """What is known of one direction. All but `cosine` is measured on latents that were held out.

    Attributes:
        name: the class.
        step, fit: of the direction.
        accuracy, low, high: share of latents on the right side, held out by seed, and its 95% interval.
        chance: what always naming the larger side would reach.
        first_split: the same accuracy where pictures of one seed may lie on both sides, as first published.
        held_out: how many.
        apart: how far the class's mean lies from the others' along the direction, in the noise's units.
        spread: standard deviation along it within a class. Accuracy is the share that `apart` leaves of it; but a
            weight moves a picture along the direction however much others vary there.
        cosine: with the direction of the support vector machine.
    """

    name: str
    step: int
    fit: str
    accuracy: float
    low: float
    high: float
    chance: float
    first_split: float
    held_out: int
    apart: float
    spread: float
    cosine: float


@dataclass(kw_only=True)
class Arguments:
    train_data_dir: tuple[Path, ...]
    """Folders that collect.py wrote, of one base."""
    output_dir: Path
    """Where the directions go."""
    subjects: tuple[str, ...] = ()
    """Take latents of these subjects alone; by default all."""
    max_train_samples: Count | None = None
    """Take the first few of each class; by default all."""
    seed: WholeNumber = 0
    """Of the split."""


def fit_all(data: Collection, seed: int = 0) -> tuple[Directions, list[Row]]:
    """Every fit of every class at every step.

    Raises:
        UserError: seeds so few that a class would be missing on one side of the split.
    """
    labels, seeds = np.array(data.labels), np.array(data.seeds)
    by_seed, first = split(seeds, seed), split(np.arange(len(seeds)), seed)
    for trained in (by_seed, first):
        if missing := [name for name in data.classes for side in (trained, ~trained) if name not in labels[side]]:
            raise UserError(
                f"the class {missing[0]} has too few latents to be on both sides of the split; collect more"
            )
    classes = data.classes if len(data.classes) > 2 else data.classes[1:]  # of two the other's is the opposite
    tensors, rows = {}, []
    for step in data.steps:
        if step == NOISE and is_paired(data):
            continue  # the same for all classes: nothing to separate
        latents = data.latents(step)
        products = gram(latents)
        whole: dict[tuple[str, str], Separator] = {}
        for name in classes:
            positive = labels == name
            if means(products, positive).norm(products) <= ALIKE * np.sqrt(products.diagonal().max()):
                raise UserError(f"at step {step} the latents of {name} are those of the others; collect other classes")
            for fit, solve in FITS.items():
                whole[fit, name] = found = solve(products, positive)
                held = ~by_seed
                on_seeds = solve(products[np.ix_(by_seed, by_seed)], positive[by_seed])
                decided = on_seeds.decide(products[np.ix_(held, by_seed)])
                right = (decided > 0) == positive[held]
                accuracy, low, high = clustered_share(right, seeds[held])
                along = (decided - on_seeds.b) / on_seeds.norm(products[np.ix_(by_seed, by_seed)]) * data.scale
                apart, spread = separation(along, positive[held])
                rows.append(
                    Row(
                        name,
                        step,
                        fit,
                        accuracy,
                        low,
                        high,
                        chance=float(max(positive[held].mean(), 1 - positive[held].mean())),
                        first_split=held_out_accuracy(products, positive, first, fit),
                        held_out=int(held.sum()),
                        apart=apart,
                        spread=spread,
                        cosine=cosine(found, whole["svm", name], products),
                    )
                )
        vectors = normals(latents, np.stack([one.a for one in whole.values()], axis=1)).T  # (fits · classes, D)
        for (fit, name), vector in zip(whole, vectors / vectors.norm(dim=1, keepdim=True), strict=True):
            tensors[fit, name, step] = vector.reshape(data.shape)
            if len(data.classes) == 2:
                tensors[fit, data.classes[0], step] = -tensors[fit, name, step]
    facts = {
        "fits": [asdict(row) for row in rows],
        "pictures": {name: data.labels.count(name) for name in data.classes},
        "prompts": sorted({record["prompt"] for record in data.records})[:20],
    }
    return Directions(tensors, data.base_hash, data.num_inference_steps, facts), rows


def is_paired(data: Collection) -> bool:
    """Whether every seed has as many pictures of each class."""
    return len({tuple(sorted(seeds)) for seeds in data.seeds_by_class.values()}) == 1


def split(groups: np.ndarray, seed: int) -> Labels:
    """Which latents are trained on: those of 60% of the groups (n,), at random."""
    names = np.unique(groups)
    chosen = np.random.default_rng(seed).permutation(names)[: round(TRAINED_ON * len(names))]
    return np.isin(groups, chosen)


def held_out_accuracy(products: Array, positive: Labels, trained: Labels, fit: str) -> float:
    found = FITS[fit](products[np.ix_(trained, trained)], positive[trained])
    decided = found.decide(products[np.ix_(~trained, trained)])
    return float(((decided > 0) == positive[~trained]).mean())


def clustered_share(right: ArrayLike, clusters: ArrayLike) -> tuple[float, float, float]:
    """A share and Wilson's 95% interval (1927), every cluster counting as one observation: pictures of one seed may
    agree wholly."""
    names, places = np.unique(clusters, return_inverse=True)
    p = float(np.mean(np.bincount(places, right) / np.bincount(places)))
    n, z = len(names), float(normal.ppf(0.975))
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return p, max(0.0, middle - reach), min(1.0, middle + reach)


def separation(along: Array, positive: Labels) -> tuple[float, float]:
    """How far apart the two classes' means are, and the standard deviation within them."""
    own, others = along[positive], along[~positive]
    within = np.concatenate([own - own.mean(), others - others.mean()])
    return float(own.mean() - others.mean()), float(np.sqrt((within**2).sum() / max(1, len(within) - 2)))


def cosine(one: Separator, other: Separator, products: Array) -> float:
    """Of two normals."""
    return float(one.a @ products @ other.a / (one.norm(products) * other.norm(products)))


def table(rows: Sequence[Row]) -> str:
    """The fits as text in columns."""
    header = ("class", "step", "fit", "held out by seed", "first split", "chance", "apart / spread", "cosine with svm")
    lines = [header]
    for row in rows:
        accuracy = f"{row.accuracy:.2f} [{row.low:.2f}, {row.high:.2f}]"
        along = f"{row.apart:.2f} / {row.spread:.2f}"
        named = (row.name, "noise" if row.step < 0 else str(row.step), row.fit)
        lines.append((*named, accuracy, f"{row.first_split:.2f}", f"{row.chance:.2f}", along, f"{row.cosine:.3f}"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def as_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def main(argv: Sequence[str] | None = None) -> list[Row]:
    """Fit, and return the table's rows."""
    arguments = parse(Arguments, argv, prog="latent_directions/fit.py", description=__doc__)
    folders, out = arguments.train_data_dir, arguments.output_dir
    whole = read_collection(folders)
    data = checked(whole.part(arguments.subjects, arguments.max_train_samples), ", ".join(map(str, folders)))
    directions, rows = fit_all(data, arguments.seed)
    file = directions.save(out)
    write_text(out / TABLE, as_csv(rows))
    print(f"{table(rows)}\n\ndirections: {file}")
    return rows


if __name__ == "__main__":
    run(main)
