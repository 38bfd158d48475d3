"""Preference data as it lies on a disk or on the hub, told apart by its columns: labels, pairs, choices, scalars."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffusion_base.errors import UserError
from diffusion_base.files import read_jsonl
from preference_data.columns import read_csv
from preference_data.convert import OUTCOMES, Intersections, choices_to_pairs, settled
from preference_data.published import read_hps_choices
from preference_data.rows import Kind, Rows

if TYPE_CHECKING:
    import datasets
    import pyarrow

PROMPTS = ("prompt", "caption", "text", "txt")
PICTURES = ("file_name", "file_path", "image", "jpg", "png", "webp", "jpeg")
REWARDS = ("reward", "score")
LABELS: dict[Any, set[bool]] = OUTCOMES | {"1": {True}, "0": {False}, "True": {True}, "False": {False}}
SIDES = {"preferred": 1, "dispreferred": 0, "1": 1, "0": 0}  # folders' names
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
SAME = "both pictures are the same; take the pair out"


def open_rows(source: str | Path, *, split: str = "train", intersections: Intersections = "drop") -> Rows:
    """What a file or folder holds; only its columns of labels are read.

    A CSV table, JSON lines, HPS's JSON of choices, or parquet; a folder with Pick-a-Pic's <split>_processed_v3.csv, a
    metadata.csv or metadata.jsonl, parquet files or tar shards (named after the split, where there are several splits),
    or pictures in `preferred/` and `dispreferred/`, each beside a text file with its prompt.

    Args:
        intersections: what becomes of pictures that both won and lost.

    Raises:
        UserError: nothing of that there, a column missing, an unknown label, a pair of one picture; names the row.
    """
    path = Path(source)
    if path.is_file():
        return _of_file(path, intersections)
    if not path.is_dir():
        raise UserError(f"{path}: there is no such file or folder")
    tables = [path / name for name in (f"{split}_processed_v3.csv", "metadata.csv", "metadata.jsonl")]
    if table := next((table for table in tables if table.is_file()), None):
        return _of_file(table, intersections)
    for suffix, builder in ((".parquet", "parquet"), (".tar", "webdataset")):
        if files := sorted(path.rglob(f"*{suffix}")):
            files = [file for file in files if file.name.startswith(split)] or files
            return rows_of(_load(builder, files), path, str(path), intersections)
    return _of_folders(path)


def open_dataset(name: str, *, split: str, cache_dir: str | None, intersections: Intersections = "drop") -> Rows:
    """A data set on the hub, or a folder that `datasets.load_dataset` understands; its columns as in `open_rows`.

    Raises:
        UserError: it can't be loaded, or as of `open_rows`.
    """
    import datasets

    try:
        data = datasets.load_dataset(name, split=split, cache_dir=cache_dir)
    except (OSError, KeyError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"--dataset_name {name} can't be loaded: {' '.join(str(error).split())}") from None
    return rows_of(data, Path(name), name, intersections)


def _of_file(file: Path, intersections: Intersections) -> Rows:
    import datasets
    import pyarrow

    if file.suffix == ".parquet":
        data = _load("parquet", [file])
    elif file.suffix == ".csv":
        data = datasets.Dataset(pyarrow.table(read_csv(file)))
    elif file.suffix in (".jsonl", ".json"):
        hps = file.suffix == ".json"  # HPS's preference_train.json is one list
        rows = list(_hps_pairs(file) if hps else _pairs_of_choices(read_jsonl(file), str(file)))
        columns = {name: [row.get(name) for row in rows] for name in (rows[0] if rows else ())}
        try:
            data = datasets.Dataset(pyarrow.table(columns))
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
            raise UserError(f"{file}: a key holds values of several types ({error})") from None
    else:
        raise UserError(f"{file}: preference data is a .csv, .jsonl, .json or .parquet file, or a folder")
    return rows_of(data, file.parent, str(file), intersections)


def _load(builder: str, files: Sequence[Path]) -> "datasets.Dataset":
    import datasets

    try:
        return datasets.load_dataset(builder, data_files=[str(file) for file in files], split="train")
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"{files[0]} can't be read: {' '.join(str(error).split())}") from None


def _pairs_of_choices(rows: list[dict], where: str) -> Iterator[dict]:
    """Choices as pairs, the chosen picture against each of the others; other rows as they are."""
    for number, row in enumerate(rows, start=1):
        if "file_names" not in row or "choice" not in row:
            yield row
            continue
        names, chosen = row["file_names"], row["choice"]
        if not isinstance(names, list) or type(chosen) is not int or not 0 <= chosen < len(names):
            raise UserError(f"{where}, record {number}: the choice is {chosen!r} of {names!r}; it must be an index")
        for i, name in enumerate(names):
            if i != chosen:
                yield {"prompt": row.get("prompt"), "preferred": names[chosen], "dispreferred": name}


def _hps_pairs(file: Path) -> Iterator[dict]:
    for pair in choices_to_pairs(read_hps_choices(file)):
        yield pair.row(file.parent)


def _of_folders(root: Path) -> Rows:
    import datasets
    import pyarrow

    rows = []
    for side in (folder for folder in sorted(root.iterdir()) if folder.is_dir() and folder.name in SIDES):
        for file in sorted(file for file in side.rglob("*") if file.suffix.lower() in SUFFIXES):
            try:
                prompt = file.with_suffix(".txt").read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise UserError(
                    f"{file} has no prompt: put it into {file.with_suffix('.txt').name} beside it"
                ) from None
            name = file.relative_to(root).as_posix()
            rows.append({"file_name": name, "prompt": prompt, "label": str(SIDES[side.name])})
    if not rows:
        raise UserError(
            f"{root}: no preference data here; expected a <split>_processed_v3.csv, metadata.csv, parquet files, tar "
            "shards, or pictures in preferred/ and dispreferred/"
        )
    return rows_of(datasets.Dataset(pyarrow.Table.from_pylist(rows)), root, str(root), "drop")


def rows_of(data: "datasets.Dataset", folder: Path, source: str, intersections: Intersections = "drop") -> Rows:
    """The rows of a table, whatever its columns make it.

    Raises:
        UserError: as of `open_rows`.
    """
    import datasets

    for name, feature in data.features.items():
        if isinstance(feature, datasets.Image):
            data = data.cast_column(name, datasets.Image(decode=False))
    columns = _columns(data)
    prompts = columns[_first(columns, PROMPTS, source)]

    def rows(kind: Kind, pictures: tuple[str, ...], said: np.ndarray, side: np.ndarray, reward: np.ndarray) -> Rows:
        """Of those rows of the table that `said` has no −1 for."""
        index = np.flatnonzero(said >= 0)
        found = (side[index].astype(np.int8), said[index] > 0, reward[index])
        return Rows(kind, source, data, pictures, folder, prompts, index, *found, _keys(columns, pictures))

    number = len(data)
    ones: np.ndarray = np.ones(number, np.int8)
    if {"jpg_0", "jpg_1", "label_0"} <= columns.keys():  # Pick-a-Pic v2; ½ is a tie
        first = _numbers(columns["label_0"], "label_0", source)
        if (wrong := np.flatnonzero(~np.isin(first, (0, 0.5, 1)))).size:
            raise UserError(f"{source}, row {wrong[0] + 1}: label_0 is {first[wrong[0]]}; it must be 1, 0 or 0.5")
        return rows("pairs", ("jpg_0", "jpg_1"), np.where(first == 0.5, -1, 1), first == 0, ones.astype(float))
    if {"preferred", "dispreferred"} <= columns.keys():
        pictures = ("preferred", "dispreferred")
        pairs = rows("pairs", pictures, ones, np.zeros(number), ones.astype(float))
        if pairs.keys:
            both = zip(*(key.to_pylist() for key in pairs.keys), strict=True)
            if (same := next((i for i, (one, other) in enumerate(both) if one == other), None)) is not None:
                raise UserError(f"{source}, row {same + 1}: {SAME}")
        return pairs
    picture = (_first(columns, PICTURES, source),)
    if "label" not in columns and "split" not in columns:
        reward = _numbers(columns[_first(columns, ("label", "split", *REWARDS), source)], "reward", source)
        return rows("scalars", picture, ones, np.zeros(number), reward)
    said = _labels(columns, source, intersections)
    return rows("labels", picture, said, np.zeros(number), (said > 0).astype(float))


def _columns(data: "datasets.Dataset") -> "dict[str, pyarrow.ChunkedArray]":
    """By name, those of a tar shard's JSON files among them."""
    import pyarrow
    import pyarrow.compute

    columns = {name: data.data.column(name) for name in data.column_names}
    if "json" in columns and pyarrow.types.is_struct(columns["json"].type):
        kind = columns["json"].type
        columns |= {f.name: pyarrow.compute.struct_field(columns["json"], f.name) for f in kind.fields}
    return columns


def _first(columns: Mapping[str, Any], names: Sequence[str], source: str) -> str:
    found = next((name for name in names if name in columns), None)
    if found is None:
        raise UserError(f"{source} has no column {', '.join(names[:-1])} or {names[-1]}")
    return found


def _keys(columns: "Mapping[str, pyarrow.ChunkedArray]", pictures: Sequence[str]) -> "tuple[pyarrow.ChunkedArray, ...]":
    """What tells pictures apart without a look at them: files' names, or Pick-a-Pic's ids."""
    import pyarrow

    if all(pyarrow.types.is_string(columns[name].type) for name in pictures):
        return tuple(columns[name] for name in pictures)
    ids = [f"image_{i}_uid" for i in range(len(pictures))]
    return tuple(columns[name] for name in ids) if len(ids) == 2 and set(ids) <= columns.keys() else ()


def _numbers(column: "pyarrow.ChunkedArray", name: str, source: str) -> np.ndarray:
    try:
        values = np.array([np.nan if value is None else value for value in column.to_pylist()], float)
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: {name} must be numbers ({error})") from None
    if (wrong := np.flatnonzero(~np.isfinite(values))).size:
        raise UserError(f"{source}, row {wrong[0] + 1}: {name} is no finite number")
    return values


def _labels(columns: "Mapping[str, pyarrow.ChunkedArray]", source: str, intersections: Intersections) -> np.ndarray:
    """1 preferred, 0 dispreferred, −1 neither, by row."""
    # a table may say by `split` which part of the data a row is of, or, as Diffusion-KTO's does, which label it has
    name = "label" if "label" in columns else "split"
    if "split" in columns and (words := columns["split"].unique().to_pylist()) and set(words) <= OUTCOMES.keys():
        name = "split"
    meaning: dict[Any, int] = {}
    for word in columns[name].unique().to_pylist():
        if (outcomes := LABELS.get(str(word))) is not None:
            label = settled(outcomes, intersections)
            meaning[word] = -1 if label is None else int(label)
    values = columns[name].to_pylist()
    if (wrong := next((i for i, word in enumerate(values) if word not in meaning), None)) is not None:
        raise UserError(
            f"{source}, row {wrong + 1}: {name} is {values[wrong]!r}; it must be one of {', '.join(OUTCOMES)}, 1 or 0"
        )
    return np.array([meaning[word] for word in values], np.int8)
