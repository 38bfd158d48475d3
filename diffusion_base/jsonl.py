"""JSON lines, read and written without torch."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from diffusion_base.errors import UserError


def read_jsonl(path: Path, required: Iterable[str] = ()) -> list[dict]:
    """The objects of a JSON-lines file; empty lines are skipped.

    Args:
        required: keys that every line must have.

    Raises:
        UserError: no such file, a line that is not a JSON object, or lacks a key; names file and line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")  # not splitlines: prompts may hold U+2028
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text: {error}") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not JSON ({error.msg} at column {error.colno})") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: a JSON object is needed, not {line.strip()[:40]}")
        if missing := [key for key in required if key not in row]:
            raise UserError(f"{path}, line {number}: {', '.join(map(repr, missing))} is missing")
        rows.append(row)
    return rows


def write_jsonl(path: Path, rows: Sequence[dict]) -> None:
    """JSON lines, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_text(file: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, file)
