"""Rows of figures as files, and as text in columns."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusion_base.files import disk_errors, write_json, write_text


def write_table(file: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """The rows as `file`.json and `file`.csv.

    Raises:
        UserError: the disk takes no more.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with disk_errors(file):
        write_json(file.with_suffix(".json"), list(rows))
        write_text(file.with_suffix(".csv"), text.getvalue())


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Cells below one another, two spaces between columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
