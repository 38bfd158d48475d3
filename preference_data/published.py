"""Preference data as it was published: LiVO's folders and data sets, Diffusion-KTO's tables, HPS's choices."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from diffusion_base.errors import UserError
from diffusion_base.files import inside, read_jsonl, replacing
from diffusion_base.identity import digest
from preference_data.convert import OUTCOMES, Intersections, settled
from preference_data.schema import Choice, Labelled, is_preferred, required, text

LIVO_COLUMNS = ("label", "prompt", "value")


def read_livo_folder(root: str | Path) -> Iterator[Labelled]:
    """LiVO's layout, <root>/<category>/<scene>/metadata.jsonl with the scene's pictures, in the order of the names.

    A line is {"file_name", "label", "prompt", "value"}: 1 is preferred, which LiVO calls aligned, and 0
    dispreferred, which it calls violating. A group is a scene.

    Raises:
        UserError: no such folder or no scene in it; a scene without metadata.jsonl; a faulty line; a picture
            outside its scene.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"--train_data_dir {root}: there is no such folder")
    scenes = sorted(scene for scene in root.glob("[!.]*/[!.]*") if scene.is_dir())
    if not scenes:
        raise UserError(f"--train_data_dir {root}: no data here; expected <category>/<scene>/metadata.jsonl")
    for folder in scenes:
        file = folder / "metadata.jsonl"
        for row in read_jsonl(file, required=("file_name", *LIVO_COLUMNS)):
            path = inside(folder, row["file_name"])
            yield _of_livo(row, path, f"{folder.parent.name}/{folder.name}", f"{file}, {path.name}")


def read_livo_dataset(name: str, pictures: Path) -> Iterator[Labelled]:
    """LiVO's data as a Hugging Face dataset: its `train` split, with columns image, label, prompt, value, category,
    scene.

    Args:
        name: a name on the hub, a folder of `save_to_disk`, or a folder or file that `load_dataset` understands.
        pictures: folder for the pictures that are stored inside the dataset's tables.

    Raises:
        UserError: no such dataset, a column missing, or a faulty row.
    """
    import datasets

    try:
        if any((Path(name) / mark).is_file() for mark in ("state.json", "dataset_dict.json")):
            data = datasets.load_from_disk(name)
            data = data["train"] if isinstance(data, datasets.DatasetDict) else data
        else:
            data = datasets.load_dataset(name, split="train")
    except (OSError, KeyError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"--dataset_name {name} can't be loaded: {' '.join(str(error).split())}") from None
    if missing := {"image", "category", "scene", *LIVO_COLUMNS} - set(data.column_names):
        raise UserError(f"--dataset_name {name}: no column {', '.join(sorted(missing))}")
    pictures.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(data.cast_column("image", datasets.Image(decode=False))):
        image = row["image"] or {"bytes": None, "path": None}
        if image["bytes"] is not None:  # the latent cache works on files
            path = pictures / digest(image["bytes"])[:32]
            if not path.exists():
                with replacing(path) as partial:
                    partial.write_bytes(image["bytes"])
        elif image["path"] is not None:
            path = Path(image["path"])
        else:
            raise UserError(f"{name}, row {number}: there is no image")
        yield _of_livo(row, path, f"{row['category']}/{row['scene']}", f"{name}, row {number}")


def _of_livo(row: dict, path: Path, scene: str, where: str) -> Labelled:
    for key in ("prompt", "value"):
        if not isinstance(row[key], str) or not row[key].strip():
            raise UserError(f"{where}: {key} is {row[key]!r}; it must be a text such as 'gender equality'")
    return Labelled(path, row["prompt"], is_preferred(row, where), group=scene, value=row["value"])


def read_kto_table(file: str | Path, intersections: Intersections = "drop") -> list[Labelled]:
    """Diffusion-KTO's table of Pick-a-Pic, `<split>_processed_v3.csv`, or a table of one's own in that form.

    Columns: `file_name` or `file_path`, relative to the table's folder; `caption`, which may be empty; `split` or
    `label`, one of exclusive_win, exclusive_lose, intersections. A group is a caption.

    Args:
        intersections: what becomes of pictures that both won and lost: "drop" is the released script's policy
            gt_label_w_l, "preferred" gt_label_wi_l, "dispreferred" gt_label_w_il.

    Raises:
        UserError: no such file, no such column, another label, or a picture outside the table's folder.
    """
    file = Path(file)
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            table = csv.DictReader(lines, strict=True)
            columns = list(table.fieldnames or ())
            path, outcome = (
                _column(file, columns, names) for names in (("file_name", "file_path"), ("split", "label"))
            )
            caption = _column(file, columns, ("caption",))
            rows = [(row[path], row[caption] or "", row[outcome], table.line_num) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{file} can't be read as a CSV table: {why}") from None
    labels = []
    for name, prompt, word, number in rows:
        if word not in OUTCOMES:
            raise UserError(f"{file}, line {number}: {outcome} is {word!r}; it must be one of {', '.join(OUTCOMES)}")
        if (preferred := settled(OUTCOMES[word], intersections)) is not None:
            labels.append(Labelled(inside(file.parent, name), prompt, preferred, group=prompt))
    return labels


def _column(file: Path, columns: Sequence[str], names: tuple[str, ...]) -> str:
    found = next((name for name in names if name in columns), None)
    if found is None:
        raise UserError(f"{file} has no column {' or '.join(names)}")
    return found


def read_hps_choices(file: str | Path) -> list[Choice]:
    """HPS's `preference_train.json` or `preference_test.json`: a list of objects with `prompt`, `file_path` (a list of
    two files or more) and `human_preference`, the index of the one that was chosen.

    Files are relative to the JSON's folder; those named without a folder lie in its `preference_images/`.

    Raises:
        UserError: no such file, not a list of such objects, or a picture outside the folder.
    """
    file = Path(file)
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} can't be read as JSON: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{file} must hold a list of objects with prompt, file_path and human_preference")
    choices = []
    for number, row in enumerate(rows):
        where = f"{file}, entry {number}"
        names, chosen = required(row, "file_path", where), required(row, "human_preference", where)
        if isinstance(names, list):
            bare = [isinstance(name, str) and name != "" and "/" not in name for name in names]
            names = [f"preference_images/{name}" if alone else name for name, alone in zip(names, bare, strict=True)]
        choices.append(Choice.checked(text(row, "prompt", where), names, chosen, file.parent, where))
    return choices
