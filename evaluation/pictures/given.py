"""Pictures that are there already, of whatever model, taken into a run as if it had made them."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from diffusion_base.errors import UserError
from diffusion_base.files import link_or_copy, replacing, write_jsonl, write_text
from diffusion_base.identity import digest
from evaluation.pictures.folders import PictureSet, prompts_of
from evaluation.pictures.prompts import OWN


def rows_of(pictures: PictureSet) -> list[dict]:
    """The prompts of a set, as the rows of a prompt file.

    Raises:
        UserError: the set does not say its prompts.
    """
    return [{"prompt": prompt} for prompt in dict.fromkeys(prompts_of(pictures))]


def adopt_set(pictures: PictureSet, rows: Sequence[dict], folder: Path, method: str) -> Path:
    """Put a set's pictures into a run's folder, in LiVO's layout: hard links, or copies where there can be none.

    Args:
        rows: of the prompts, as in `make_records`; of two with the same prompt the first counts.
        folder: the set's in the run.
        method: what made the pictures.

    Raises:
        UserError: the prompts are not those of the rows, or not of as many pictures each; or the folder holds other
            pictures.
    """
    records = _records(pictures, rows)
    about = _made_by(pictures.folder)
    taken = {"taken_from": str(pictures.folder.resolve()), "contents": digest("".join(pictures.keys).encode())}
    identity = about.get("identity", {}) | taken
    known = _made_by(folder).get("identity", {}) if folder.exists() else identity
    if {key: known.get(key) for key in taken} != taken:
        raise UserError(f"{folder} holds other pictures; choose another --save_path, or delete this folder")
    write_text(folder / "run.json", json.dumps(about | {"method": method, "identity": identity}, indent=2))
    for record, file in zip(records, pictures.files, strict=True):
        _link(file.resolve(), folder / record["file"])
    write_jsonl(folder / "prompt.jsonl", rows)
    write_jsonl(folder / "manifest.jsonl", records)
    return folder


def _records(pictures: PictureSet, rows: Sequence[dict]) -> list[dict]:
    """The pictures' records, with what the row of their prompt says, in the order of the set."""
    own = prompts_of(pictures)
    asked = list(dict.fromkeys(row["prompt"] for row in rows))
    if different := sorted(set(own) ^ set(asked)):
        having = str(pictures.folder) if different[0] in own else "the protocol"
        raise UserError(f"the prompts of {pictures.folder} are not the protocol's: only {having} has {different[0]!r}")
    places = {row["prompt"]: p for p, row in reversed(list(enumerate(rows)))}
    counts: Counter[str] = Counter()
    records = []
    for file, prompt, seed in zip(pictures.files, own, pictures.seeds, strict=True):
        p, i = places[prompt], counts[prompt]
        counts[prompt] += 1
        record = {"file": f"{p}_{i}{file.suffix.lower()}", "prompt": prompt, "prompt_index": p}
        record |= {} if seed is None else {"seed": seed}
        records.append(record | {key: value for key, value in rows[p].items() if key not in OWN})
    for prompt in asked:
        if counts[prompt] != counts[asked[0]]:
            raise UserError(
                f"{pictures.folder} holds {counts[prompt]} pictures of {prompt!r} and {counts[asked[0]]} of "
                f"{asked[0]!r}; every prompt needs as many: add the missing ones, or take the others out"
            )
    return records


def _made_by(folder: Path) -> dict:
    """A set's run.json; nothing where there is none that can be read."""
    try:
        about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) and isinstance(about.get("identity", {}), dict) else {}


def _link(source: Path, file: Path) -> None:
    if file.exists():
        return
    with replacing(file) as partial:
        link_or_copy(source, partial)
