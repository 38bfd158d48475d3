"""A CSV table as columns that take no more room than their texts."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion_base.errors import UserError

if TYPE_CHECKING:
    import pyarrow


def read_csv(file: Path) -> dict[str, "pyarrow.ChunkedArray"]:
    """A table's columns as texts, built up a stretch at a time; the number of a row is the line it ends at.

    Raises:
        UserError: no such file, not a table, or a row with another number of columns than the first line.
    """
    import pyarrow

    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            names = next(reader, [])
            chunks: list[list[pyarrow.Array]] = [[] for _ in names]
            for rows in _stretches(reader):
                if wrong := next((row for row in rows if len(row) != len(names)), None):
                    raise UserError(f"{file}: {wrong} has {len(wrong)} columns, the first line {len(names)}")
                for column, values in zip(chunks, zip(*rows, strict=True), strict=True):
                    column.append(pyarrow.array(values, pyarrow.string()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{file} can't be read as a CSV table: {why}") from None
    columns = [pyarrow.chunked_array(column, pyarrow.string()) for column in chunks]
    return dict(zip(names, columns, strict=True))


def _stretches(rows: Iterable[list[str]], length: int = 50_000) -> Iterator[list[list[str]]]:
    stretch: list[list[str]] = []
    for row in rows:
        if row:  # an empty line is no row
            stretch.append(row)
        if len(stretch) == length:
            yield stretch
            stretch = []
    if stretch:
        yield stretch
