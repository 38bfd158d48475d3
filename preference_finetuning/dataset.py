"""Training items of what people like: a picture with its label and reward, or a pair, as latents or as pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion_base.data import load_image, mirror, placed, size_of, square, to_tensor
from diffusion_base.errors import UserError
from diffusion_base.identity import json_hash
from diffusion_base.latents import LatentCache
from diffusion_base.processes import process_state
from preference_data.convert import Intersections
from preference_data.rows import Picture, Rows
from preference_finetuning.objective import Needs, names, objective

FITS: dict[str, tuple[Needs, ...]] = {
    "pairs": ("pairs", "labels", "preferred", "scalars"),
    "labels": ("labels", "preferred", "scalars"),
    "scalars": ("scalars",),
}


def fitting(rows: Rows, name: str, intersections: Intersections) -> Rows:
    """The rows as an objective needs them.

    Raises:
        UserError: they don't say enough, a class is absent, or nothing is left.
    """
    needs = objective(name).TRAITS.needs
    if needs not in FITS[rows.kind]:
        fit = [other for other in names() if objective(other).TRAITS.needs in FITS[rows.kind]]
        raise UserError(
            f"--objective {name} needs {needs}, and {rows.source} holds {rows.kind}: those fit {', '.join(fit)}; "
            "preference_data/README.md says how to convert them"
        )
    if needs != "pairs" and rows.kind == "pairs":
        rows = rows.as_labels(intersections)
    if needs == "preferred":
        rows = rows.take(rows.preferred)
    if not len(rows):
        raise UserError(f"{rows.source}: none of its pictures is of use to --objective {name}")
    if needs == "labels":
        for side, there in (("preferred", rows.preferred.any()), ("dispreferred", not rows.preferred.all())):
            if not there:
                raise UserError(f"{rows.source} has no {side} picture, and --objective {name} needs both classes")
    return rows


class Preferences:
    """An item a row, or with `positive_ratio` a draw among the rows.

    Args:
        rows: of one kind, as the objective needs them.
        cache: of latents. Pictures that lie in the table itself are encoded anew at every step, not kept in it.
        cached: whether to keep the latents of pictures that are files; not with random crops.
        random_crop, random_flip: of a picture, and alike of both pictures of a pair.
        positive_ratio: share of preferred pictures among the draws, which then are with replacement; None takes every
            row once an epoch.
        empty_prompts: share of items whose prompt is "".
        prefixes: what goes before the prompt of a preferred, and of a dispreferred picture.
        mismatched: whether an item has another row's prompt, too.
    """

    def __init__(
        self,
        rows: Rows,
        cache: LatentCache,
        *,
        cached: bool = True,
        random_crop: bool = False,
        random_flip: bool = False,
        positive_ratio: float | None = None,
        empty_prompts: float = 0.0,
        prefixes: tuple[str, str] = ("", ""),
        mismatched: bool = False,
    ):
        self.rows, self.cache, self.random_crop, self.random_flip = rows, cache, random_crop, random_flip
        self.positive_ratio, self.empty_prompts = positive_ratio, empty_prompts
        self.prefixes, self.mismatched = prefixes, mismatched
        self.classes = [np.flatnonzero(~rows.preferred), np.flatnonzero(rows.preferred)]
        self.live = random_crop or not cached or rows.embedded
        if self.live:
            process_state().print("pictures are not kept as latents: every one is encoded at every step")
        else:
            cache.encode(rows.files())

    def __len__(self) -> int:
        return len(self.rows)

    def fingerprint(self) -> str:
        """A hash of prompts, labels and pictures: of files by their content, or by their size where they are not
        kept as latents; of pictures in the table by their sizes."""
        if self.rows.embedded:
            return self.rows.fingerprint()
        files = self.rows.files()
        marks = [path.stat().st_size for path in files] if self.live else [self.cache.contents[path] for path in files]
        return json_hash([self.rows.fingerprint(), marks])

    def summary(self) -> str:
        """One line on what there is."""
        if self.rows.kind == "pairs":
            return f"{len(self)} pairs of {self.rows.source}"
        dispreferred, preferred = map(len, self.classes)
        return f"{len(self)} pictures of {self.rows.source}, {preferred} preferred and {dispreferred} dispreferred"

    def examples(self, count: int) -> list[str]:
        """A few prompts, as far apart as possible."""
        spread = dict.fromkeys(int(i) for i in np.linspace(0, len(self) - 1, 4 * count))
        return [prompt for prompt in dict.fromkeys(self.rows.prompt(i) for i in spread) if prompt][:count]

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Of n pictures, one or a pair: `pictures` (n, C, h, w) latents, or (n, 3, H, W) pixels; `size` (n, 6), what
        XL is told of them; the prompt; `preferred` and `reward` (of a pair, 1); with `mismatched`, `other_prompt`."""
        if self.positive_ratio is not None:
            index = int(rng.choice(self.classes[int(rng.random() < self.positive_ratio)]))
        row = self.rows[index]
        empty, mirrored = rng.random() < self.empty_prompts, self.random_flip and rng.random() < 0.5
        crop = (rng.random(), rng.random()) if self.random_crop else (0.5, 0.5)
        pictures, sizes = zip(*(self._load(picture, mirrored, crop, rng) for picture in row.pictures), strict=True)
        prefix = self.prefixes[0 if row.preferred else 1]
        item = {
            "pictures": torch.stack(pictures),
            "size": torch.tensor(sizes),
            "prompt": "" if empty else prefix + row.prompt,
            "preferred": row.preferred,
            "reward": row.reward,
        }
        if self.mismatched:
            other = (index + int(rng.integers(1, max(2, len(self))))) % len(self)
            item["other_prompt"] = self.rows.prompt(other)
        return item

    def _load(
        self, picture: Picture, mirrored: bool, crop: tuple[float, float], rng: np.random.Generator
    ) -> tuple[Tensor, tuple[int, ...]]:
        side = self.cache.resolution
        if self.live:
            image = load_image(picture)
            pixels, (width, height) = to_tensor(square(image, side, crop)), image.size
            loaded = mirror(pixels) if mirrored else pixels
        else:
            assert isinstance(picture, Path)
            generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
            loaded = self.cache.sample(self.cache.moments(picture, mirrored), generator)
            width, height = size_of(picture)
        _, (left, top) = placed((width, height), side, crop)
        return loaded, (height, width, top, left, side, side)
