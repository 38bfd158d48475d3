"""Collections of latents: what `collect.py` wrote, one or several folders of one base."""

import json
from collections import Counter
from collections.abc import Collection as AnyOf
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffusion_base.errors import UserError
from diffusion_base.files import read_jsonl

LATENTS = "latents"  # the shards' folder, and the key of their metadata
NOISE = -1  # the step before the first
FEWEST = 4  # pictures of a class, so that some can be held out


@dataclass(frozen=True)
class Kept:
    """Where a picture's latents are: (steps, C, h, w) under a name in a shard, divided by `scale`."""

    file: Path
    name: str
    shape: tuple[int, ...]
    steps: tuple[int, ...]
    scale: float


@dataclass(frozen=True)
class Collection:
    """Latents of pictures of several classes.

    Attributes:
        records: what the manifest says of each picture: file, prompt, seed, class, subject.
        kept: where each one's latents are.
        base_hash: of the base that made them.
        num_inference_steps: of their sampling.
    """

    records: list[dict]
    kept: list[Kept]
    base_hash: str
    num_inference_steps: int

    @property
    def classes(self) -> list[str]:
        return list(dict.fromkeys(record["class"] for record in self.records))

    @property
    def labels(self) -> list[str]:
        return [record["class"] for record in self.records]

    @property
    def seeds(self) -> list[int]:
        return [record["seed"] for record in self.records]

    @property
    def seeds_by_class(self) -> dict[str, list[int]]:
        return {name: [r["seed"] for r in self.records if r["class"] == name] for name in self.classes}

    @property
    def steps(self) -> tuple[int, ...]:
        return self.kept[0].steps

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, h, w)"""
        return self.kept[0].shape[1:]

    @property
    def scale(self) -> float:
        return self.kept[0].scale

    def latents(self, step: int) -> Tensor:
        """(n, C·h·w) at a step, in half precision, as they are on the disk: divided by `scale`."""
        rows = torch.empty(len(self.kept), *self.shape, dtype=torch.float16)
        place = self.steps.index(step)
        for file in dict.fromkeys(kept.file for kept in self.kept):
            with safe_open(file, framework="pt") as shard:
                for i, kept in enumerate(self.kept):
                    if kept.file == file:
                        rows[i] = shard.get_slice(kept.name)[place]
        return rows.flatten(1)

    def part(self, subjects: AnyOf[str] = (), samples: int | None = None) -> "Collection":
        """Its pictures of some subjects, the first few of each class.

        Raises:
            UserError: a subject that it hasn't.
        """
        known = dict.fromkeys(record["subject"] for record in self.records)
        if missing := [subject for subject in subjects if subject not in known]:
            raise UserError(f"--subjects: there are no latents of {missing[0]!r}; there are {', '.join(known)}")
        seen: Counter[str] = Counter()
        chosen = []
        for i, record in enumerate(self.records):
            if not subjects or record["subject"] in subjects:
                seen[record["class"]] += 1
                if samples is None or seen[record["class"]] <= samples:
                    chosen.append(i)
        return replace(self, records=[self.records[i] for i in chosen], kept=[self.kept[i] for i in chosen])


def read_collection(folders: Sequence[Path]) -> Collection:
    """One or several folders that `collect.py` wrote, joined.

    Raises:
        UserError: no collection there, an unfinished or damaged one; latents of two bases, shapes or lists of steps; a
            single class; a class with too few pictures.
    """
    parts = [_read(Path(folder)) for folder in folders]
    first = parts[0]
    for folder, part in zip(folders[1:], parts[1:], strict=True):
        for name, own, other in (
            ("another base", part.base_hash, first.base_hash),
            ("another shape", part.shape, first.shape),
            ("other steps", part.steps, first.steps),
            ("another number of sampling steps", part.num_inference_steps, first.num_inference_steps),
        ):
            if own != other:
                raise UserError(
                    f"{folder} has latents of {name} ({own}) than {folders[0]} ({other}); collect both alike"
                )
    return checked(
        replace(
            first,
            records=[record for part in parts for record in part.records],
            kept=[kept for part in parts for kept in part.kept],
        ),
        ", ".join(map(str, folders)),
    )


def checked(collection: Collection, where: str) -> Collection:
    """The same, if directions can be fitted on it.

    Raises:
        UserError: a single class, or a class with too few pictures.
    """
    counts = Counter(collection.labels)
    if len(counts) < 2:
        raise UserError(
            f"{where}: all latents are of one class, {collection.classes[0]}, and nothing separates it from itself; "
            "collect a second one"
        )
    name, fewest = min(counts.items(), key=lambda item: item[1])
    if fewest < FEWEST:
        raise UserError(
            f"{where}: the class {name} has {fewest} latents, and {FEWEST} are needed at least; collect more"
        )
    return collection


def _read(folder: Path) -> Collection:
    manifest, run = folder / "manifest.jsonl", folder / "run.json"
    if not manifest.is_file() or not run.is_file():
        raise UserError(f"{folder} holds no finished collection (manifest.jsonl): latent_directions.collect makes one")
    records = read_jsonl(manifest, required=("file", "prompt", "seed", "class", "subject"))
    try:
        identity: dict[str, Any] = json.loads(run.read_text(encoding="utf-8"))["identity"]
        base_hash, steps = identity["base"], identity["num_inference_steps"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{run} is not a collection's; collect again in another folder") from None
    found = shard_contents(folder)
    stems = [Path(record["file"]).stem for record in records]
    if missing := next((stem for stem in stems if stem not in found), None):
        raise UserError(f"{folder}: the latents of {missing} are missing; start collect.py again, it makes what is not")
    kept = [found[stem] for stem in stems]
    if other := next((one for one in kept if (one.shape, one.steps) != (kept[0].shape, kept[0].steps)), None):
        raise UserError(
            f"{folder}: the latents of {other.name} are of shape {other.shape} at steps {other.steps}, those of "
            f"{kept[0].name} of {kept[0].shape} at {kept[0].steps}; collect again in another folder"
        )
    return Collection(records, kept, base_hash, steps)


def shard_contents(folder: Path) -> dict[str, Kept]:
    """What the shards of a collection hold, by picture; a damaged shard counts as not there."""
    found: dict[str, Kept] = {}
    for file in sorted((folder / LATENTS).glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as shard:
                about = json.loads((shard.metadata() or {})[LATENTS])
                steps, scale = tuple(about["steps"]), float(about["scale"])
                for name in shard.keys():  # noqa: SIM118, not a dict
                    found[name] = Kept(file, name, tuple(shard.get_slice(name).get_shape()), steps, scale)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            continue
    return found
