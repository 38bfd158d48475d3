"""The files of a generated set: where its pictures lie, which run they are of, and how they are written."""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image

from diffusion_base.data import load_image
from diffusion_base.errors import UserError
from diffusion_base.files import copy_file, disk_errors, inside, read_jsonl, replacing
from diffusion_base.identity import same_base
from diffusion_base.intervention import Intervention

FORMATS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG", "compress_level": 1},  # lossless all the same, and several times faster
    ".jpg": {"format": "JPEG", "quality": 95},
    ".jpeg": {"format": "JPEG", "quality": 95},
}


def image_files(records: Sequence[dict], folder: Path) -> list[Path]:
    """The path of each record's picture.

    Raises:
        UserError: a record that cannot be a picture, or two that are one.
    """
    files = []
    for number, record in enumerate(records, start=1):
        if not (isinstance(record.get("prompt"), str) and isinstance(record.get("seed"), int)):
            raise UserError(f"record {number}: it needs a prompt (text) and a seed (a whole number): {record}")
        files.append(inside(folder, record.get("file", "")))
        if files[-1].suffix.lower() not in FORMATS:
            raise UserError(f"record {number}: {record['file']!r} must end in {', '.join(FORMATS)}")
    if len(set(files)) < len(files):
        twice = next(file for i, file in enumerate(files) if file in files[:i])
        raise UserError(f"two records have the same file {twice.name!r}")
    return files


def check_folder(folder: Path, files: list[Path], identity: dict) -> None:
    """Refuse a folder that holds pictures of another run; one in which none was made yet is taken over.

    Raises:
        UserError: naming what differs, and what to do.
    """
    remedy = "choose another output folder, or delete this one"
    try:
        known = _made_as(folder, identity)
    except FileNotFoundError:
        if stray := next((file for file in files if file.exists()), None):
            raise UserError(f"{stray} is there but no {folder / 'run.json'} that says what made it; {remedy}") from None
        return
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{folder / 'run.json'} is not a generated set's; {remedy}") from None
    different = [key for key, value in identity.items() if known.get(key) != value]
    if different and any(file.suffix.lower() in FORMATS for file in folder.rglob("*")):
        raise UserError(f"{folder} holds another run, which differs in {', '.join(different)}; {remedy}")


def _made_as(folder: Path, identity: dict) -> dict:
    """The identity in a set's `run.json`, as this version writes it: where former ones have the precision, and with the
    hash that the same base has now."""
    run = dict(json.loads((folder / "run.json").read_text(encoding="utf-8")))
    known = {"dtype": run.get("dtype")} | run["identity"]
    return known | ({"base": identity["base"]} if same_base(known.get("base"), identity["base"]) else {})


def fields_read(interventions: Sequence[Intervention]) -> set[str] | None:
    """The fields of a record that decide its picture; None where any may."""
    read = [intervention.reads for intervention in interventions]
    return {"file", "prompt", "seed"}.union(*filter(None, read)) if None not in read else None


def is_twin(folder: Path, identity: dict, records: Sequence[dict], read: set[str] | None) -> bool:
    """Whether a folder holds a finished set whose every picture was made as these records' are to be."""
    try:
        known = _made_as(folder, identity)
        manifest = read_jsonl(folder / "manifest.jsonl")
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return False

    def deciding(rows: Sequence[dict]) -> list[dict]:
        keys = read or {*chain.from_iterable(rows)} - {"interventions"}  # the manifest's own word
        return [{key: row[key] for key in keys if key in row} for row in rows]

    alike = known | {"records": None} == identity | {"records": None}
    return alike and deciding(manifest) == deciding(json.loads(json.dumps(records)))


def copy_picture(source: Path, file: Path) -> None:
    """Copy a picture that is not there yet, whole or not at all."""
    if source.is_file() and not file.exists():
        copy_file(source, file)


def opens(file: Path) -> bool:
    try:
        load_image(file)
    except UserError:
        return False
    return True


def save_picture(image: Image.Image, file: Path) -> None:
    """Write a picture whole or not at all.

    Raises:
        UserError: the disk is full or not writable.
    """
    with disk_errors(file, "the pictures made so far are kept"), replacing(file) as partial:
        image.save(partial, **FORMATS[file.suffix.lower()])
