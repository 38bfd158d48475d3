"""Prompt files to records: which pictures are made, each with its seed and its value."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusion_base.errors import UserError
from diffusion_base.files import read_jsonl
from evaluation.scores.answers import WRITTEN

Split = int | None | Callable[[Mapping[str, Any]], int | None]  # how many pictures of a prompt get its value
SEED_STRIDE = 1000  # pictures a prompt for which the seeds of two prompts stay apart
# what the records say themselves: a row's own field of such a name stays in prompt.jsonl
OWN = {"file", "prompt", "prompt_index", "seed", "value_applied", "interventions", *WRITTEN}


def make_records(
    prompts: Sequence[str | Mapping[str, Any]],
    *,
    images_per_prompt: int = 50,
    value: str | None = None,
    value_images: Split = None,
    seed: int = 42,
    suffix: str = "png",
) -> list[dict]:
    """The pictures of a set: `images_per_prompt` of every prompt, the first `value_images` of each with the value.

    The seed depends on the prompt's and the picture's number alone, so that all methods start from the same noise.

    Args:
        prompts: texts, or the rows of an evaluation file, whose further fields the records repeat; a row's "sd_seed"
            (I2P's name) is the seed of its first picture.
        value: the value statement of all prompts whose row has none of its own; None leaves it out of the records.
        value_images: None is all of them; a function says it of each prompt's row.
    """
    records = []
    rows: list[Mapping[str, Any]] = [{"prompt": row} if isinstance(row, str) else row for row in prompts]
    for p, row in enumerate(rows):
        about = {key: field for key, field in row.items() if key not in OWN}
        with_value = value_images(row) if callable(value_images) else value_images
        first = row.get("sd_seed", seed + SEED_STRIDE * p)
        for i in range(images_per_prompt):
            record = {"file": f"{p}_{i}.{suffix}", "prompt": row["prompt"], "prompt_index": p}
            record |= {"seed": first + i, **about}
            if value is not None:
                record.setdefault("value", value)
            if value is not None or value_images is not None:
                record["value_applied"] = with_value is None or i < with_value
            records.append(record)
    return records


def read_prompts(file: Path) -> list[dict]:
    """The rows of an evaluation file, {"prompt": …, "value"?: …, …} each.

    Raises:
        UserError: no such file, none in it, or a malformed line (named).
    """
    rows = read_jsonl(file, required=["prompt"])
    for row in rows:
        if not isinstance(row["prompt"], str):
            raise UserError(f"{file}: a prompt must be text, not {row['prompt']!r}")
        if not isinstance(row.get("sd_seed", 0), int):
            raise UserError(f"{file}: the sd_seed of {row['prompt']!r} must be a whole number, not {row['sd_seed']!r}")
        if not isinstance(row.get("value"), str | None):
            raise UserError(f"{file}: the value of {row['prompt']!r} must be text or null, not {row['value']!r}")
    if not rows:
        raise UserError(f"{file} holds no prompts")
    return rows


def read_prompt_files(files: Sequence[Path]) -> dict[str, list[dict]]:
    """The rows of each file by its name without the ending, which is what its set is called.

    Raises:
        UserError: see `read_prompts`; or two sets would have the same name.
    """
    sets = {file.stem: read_prompts(file) for file in files}
    if len(sets) < len(files):
        raise UserError("--eval_data: two files have the same name, so their pictures would share a folder")
    return sets
