"""Files read and written without torch: JSON and JSON lines, paths in them, and everything whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

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


def write_json(file: Path, content: Any, indent: int = 2) -> None:
    """A JSON file, whole or not at all."""
    write_text(file, json.dumps(content, indent=indent) + "\n")


def write_text(file: Path, text: str) -> None:
    """A text file, whole or not at all."""
    with replacing(file) as partial:
        partial.write_text(text, encoding="utf-8")


def inside(folder: Path, file_name: str) -> Path:
    """The path of a manifest's `file_name`, which must stay in the manifest's folder.

    Raises:
        UserError: an absolute path, one that climbs out by `..` or by a link, or no name at all.
    """
    folder = Path(folder)
    if not isinstance(file_name, str) or not file_name:
        raise UserError(f"file_name {file_name!r} in {folder}: the name of a file is needed")
    path = folder / file_name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"file_name {file_name!r} leaves its folder {folder}")
    return path


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path to write to, which takes `file`'s place when the block ends without an error; else `file` stays as it was.

    Its name holds the process's number, so that processes that write the same file don't disturb each other.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def copy_file(source: str | Path, file: str | Path) -> None:
    """A copy of a file with its time of change, whole or not at all."""
    with replacing(Path(file)) as partial:
        shutil.copy2(source, partial)


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets the name `folder` once the block ends and all of it is on the disk; else nothing
    stays. What a killed process left under the temporary name is removed first."""
    partial = partial_folder(folder)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        for path in [*partial.rglob("*"), partial]:
            _flush(path)
        partial.rename(folder)
        _flush(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def partial_folder(folder: Path) -> Path:
    """The name that a folder has while it is written or deleted."""
    return folder.with_name(f".{folder.name}.partial")


def link_or_copy(source: Path, file: Path) -> None:
    """The same file under a second name where the disk knows such, else a copy."""
    try:
        os.link(source, file)
    except OSError:
        shutil.copyfile(source, file)


@contextmanager
def disk_errors(target: Path, remedy: str = "make room and start again") -> Iterator[None]:
    """Turn a full or unwritable disk into a UserError that names what could not be written, and the remedy."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"{target} can't be written ({why}); {remedy}") from error


def _flush(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
