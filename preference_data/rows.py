"""Preference data of any size: a row is made when it is asked for, over columns that parquet and tar leave on the disk.

Pictures are files, or lie in the table itself, as Pick-a-Pic v2 is published.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from diffusion_base.errors import UserError
from diffusion_base.files import inside
from diffusion_base.identity import digest, json_hash
from preference_data.convert import Intersections, settled

if TYPE_CHECKING:
    import datasets
    import pyarrow

Kind: TypeAlias = Literal["labels", "pairs", "scalars"]
Picture: TypeAlias = Path | bytes


@dataclass(frozen=True)
class Row:
    """What people said of one picture, or of two.

    Attributes:
        pictures: one, or a pair, the preferred one first.
        preferred: of one picture.
        reward: how much people liked it; 1 or 0 where there are mere labels.
    """

    prompt: str
    pictures: tuple[Picture, ...]
    preferred: bool
    reward: float


@dataclass(frozen=True)
class Rows:
    """Rows of one kind, each a row of a table or half of one.

    Attributes:
        source: what errors name.
        data: the table, whose `columns` hold the pictures, one or two.
        folder: that files' names are relative to.
        prompts: of the table's rows.
        index: (n,), each row's number in the table.
        side: (n,), which of the columns holds its picture, of pairs the preferred one.
        preferred, reward: (n,).
        keys: by column what tells pictures apart without a look at them; empty where nothing does.
    """

    kind: Kind
    source: str
    data: "datasets.Dataset"
    columns: tuple[str, ...]
    folder: Path
    prompts: "pyarrow.ChunkedArray"
    index: np.ndarray
    side: np.ndarray
    preferred: np.ndarray
    reward: np.ndarray
    keys: "tuple[pyarrow.ChunkedArray, ...]" = ()

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[Row]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Row:
        """
        Raises:
            UserError: a file outside the folder, no picture in the table, or a pair of one and the same picture.
        """
        number, side = int(self.index[i]), int(self.side[i])
        row = self.data[number]
        columns = [self.columns[side]]
        if self.kind == "pairs":
            columns.append(self.columns[1 - side])
        pictures = tuple(self._picture(row[column], number) for column in columns)
        if len(set(pictures)) < len(pictures):
            raise UserError(f"{self.source}, row {number + 1}: both pictures are the same; take the pair out")
        return Row(self.prompt(i), pictures, bool(self.preferred[i]), float(self.reward[i]))

    def prompt(self, i: int) -> str:
        return self.prompts[int(self.index[i])].as_py() or ""

    def _picture(self, value: Any, number: int) -> Picture:
        if isinstance(value, dict):  # as datasets keeps a picture: in the table, or a file's name
            value = value["bytes"] if value["bytes"] is not None else value["path"]
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise UserError(f"{self.source}, row {number + 1}: there is no picture")
        return inside(self.folder, value)

    @property
    def embedded(self) -> bool:
        """Whether the pictures lie in the table."""
        return len(self) > 0 and isinstance(self[0].pictures[0], bytes)

    def take(self, which: np.ndarray) -> "Rows":
        """Some of the rows, by number or by a mask."""
        arrays = {name: getattr(self, name)[which] for name in ("index", "side", "preferred", "reward")}
        return replace(self, **arrays)

    def files(self) -> list[Path]:
        """Every picture's file once, in the order of the rows."""
        if self.embedded:
            return []
        if not self.keys:
            pictures = (picture for row in self for picture in row.pictures)
            return list(dict.fromkeys(picture for picture in pictures if isinstance(picture, Path)))
        names, both = [column.to_pylist() for column in self.keys], self.kind == "pairs"
        sides = zip(self.index.tolist(), self.side.tolist(), strict=True)
        wanted = (names[s][row] for row, side in sides for s in ((side, 1 - side) if both else (side,)))
        return [inside(self.folder, name) for name in dict.fromkeys(wanted)]

    def fingerprint(self) -> str:
        """A hash of prompts, labels and rewards; and, of pictures in the table, their sizes."""
        arrays = [np.ascontiguousarray(a) for a in (self.index, self.side, self.preferred, self.reward)]
        texts = (json_hash(chunk.to_pylist()).encode() for chunk in self.prompts.chunks)
        parts = [self.kind.encode(), *(array.tobytes() for array in arrays), *texts]
        if self.embedded:
            parts += [_sizes(self.data.data.column(column)).tobytes() for column in self.columns]
        return digest(*parts)[:16]

    def as_labels(self, intersections: Intersections = "drop") -> "Rows":
        """Each picture of each prompt once, labelled by whether it won.

        Args:
            intersections: what becomes of one that won a pair and lost another; not known of pictures that nothing
                tells apart, which then count once a pair.
        """
        if self.kind != "pairs":
            return replace(self, kind="labels")
        index: np.ndarray = np.repeat(self.index, 2)
        side: np.ndarray = np.stack([self.side, 1 - self.side], 1).ravel()
        preferred = np.tile([True, False], len(self))
        both = replace(self, kind="labels", index=index, side=side, preferred=preferred, reward=preferred.astype(float))
        if not self.keys:
            return both
        seen: dict[tuple[str, str], tuple[int, set[bool]]] = {}
        names, prompts = [column.to_pylist() for column in self.keys], self.prompts.to_pylist()
        for i, (row, column, won) in enumerate(zip(index.tolist(), side.tolist(), preferred.tolist(), strict=True)):
            seen.setdefault((prompts[row], names[column][row]), (i, set()))[1].add(won)
        labels = {i: settled(outcomes, intersections) for i, outcomes in seen.values()}
        kept = both.take(np.array([i for i, label in labels.items() if label is not None], int))
        won = np.array([label for label in labels.values() if label is not None], bool)
        return replace(kept, preferred=won, reward=won.astype(float))


def _sizes(column: "pyarrow.ChunkedArray") -> np.ndarray:
    import pyarrow
    import pyarrow.compute

    if pyarrow.types.is_struct(column.type):
        column = pyarrow.compute.struct_field(column, "bytes")
    return pyarrow.compute.binary_length(column).to_numpy()
