"""Leave out of preference data what a judge finds harmful, and say what was left out and why.

    accelerate launch preference_data/screen.py --data pickapic --output_dir pickapic_screened \\
        --judge scorers:nudenet --kinds nudity

Of a pair both pictures go. An interrupted run goes on where it stopped.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from PIL import Image

from diffusion_base.arguments import WholeNumber, parse
from diffusion_base.errors import UserError, run
from diffusion_base.files import disk_errors, link_or_copy, replacing, write_json, write_text
from diffusion_base.identity import digest
from diffusion_base.processes import process_state
from preference_data.opening import open_rows
from preference_data.rows import Row, Rows
from preference_data.screening import Answer, Asked
from scorers.one_pass import show
from scorers.protocols import ToxicityScorer, load_judge

WORK = ".unfinished"
OVER = ("screening.json", "screening.md")


@dataclass(kw_only=True)
class Arguments:
    data: str
    """What to screen: a file or folder as `--train_data_dir` of preference_finetuning takes it."""
    output_dir: Path
    """Folder to write: what is kept, in the form it had, and screening.json and screening.md."""
    judge: str
    """Who looks: any judge of harms, as package:path?option=value, such as scorers:nudenet or scorers:q16."""
    kinds: tuple[str, ...] = ("inappropriate",)
    """Kinds of harm that the judge is asked about, such as nudity or bloody; a picture that shows one of them goes."""
    threshold: Annotated[float, Ge(0)] | None = None
    """Score above which a picture shows a harm; by default the judge's own."""
    split: str = "train"
    """Which of a folder's splits."""
    num_workers: WholeNumber = 2
    """Processes that decode pictures; 0 decodes in the main one."""


def asked(judge: ToxicityScorer, kind: str, threshold: float, images: Sequence[Image.Image], _: Any) -> list[Answer]:
    """A harm's scores, as `Asked` keeps them."""
    return [{"score": round(s, 6), "threshold": threshold} for s in judge.toxicity(images, kind).double().tolist()]


def named(row: Row) -> list[str]:
    """What a row's pictures are known by."""
    return [digest(picture)[:32] if isinstance(picture, bytes) else str(picture) for picture in row.pictures]


def as_files(rows: Rows, folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Every picture once: its name, a file of it, and its prompt; those in tables are written out."""
    seen = set()
    for row in rows:
        for name, picture in zip(named(row), row.pictures, strict=True):
            if name in seen:
                continue
            seen.add(name)
            if isinstance(picture, Path):
                yield name, picture, row.prompt
                continue
            file = folder / name
            if not file.exists():
                with replacing(file) as partial_file:
                    partial_file.write_bytes(picture)
            yield name, file, row.prompt


def harms(found: Mapping[str, Mapping[str, Answer]], name: str) -> dict[str, float]:
    """The kinds of harm that a picture shows, with its scores."""
    scores = {kind: answers[name] for kind, answers in found.items()}
    return {kind: answer["score"] for kind, answer in scores.items() if answer["score"] > answer["threshold"]}


def keep(rows: Rows, which: np.ndarray, folder: Path, split: str) -> str:
    """Write the rows that are kept, in the form they had, with their pictures; returns the table's name."""
    data = rows.data.select(rows.index[which])
    source = Path(rows.source)
    if rows.embedded:
        name = f"{split}.parquet"
        data.to_parquet(folder / name)
        return name
    for file in rows.take(which).files():
        target = folder / file.relative_to(rows.folder)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(file, target)
    if source.suffix == ".csv" or source.is_dir():
        name = source.name if source.suffix == ".csv" else "metadata.csv"
        data.to_csv(folder / name)
    elif source.suffix == ".parquet":
        name = source.name
        data.to_parquet(folder / name)
    else:
        name = source.with_suffix(".jsonl").name
        data.to_json(folder / name, force_ascii=False)
    return name


def report(rows: Rows, found: Mapping[str, Mapping[str, Answer]], judge: ToxicityScorer, threshold: float) -> dict:
    """What was left out and why; JSON."""
    dropped, counts = [], {kind: {"preferred": 0, "dispreferred": 0} for kind in found}
    clean: np.ndarray = np.ones(len(rows), bool)
    for i, row in enumerate(rows):
        for position, name in enumerate(named(row)):
            if shown := harms(found, name):
                clean[i] = False
                side = "preferred" if (row.preferred if len(row.pictures) == 1 else position == 0) else "dispreferred"
                for kind in shown:
                    counts[kind][side] += 1
                dropped.append({"row": int(rows.index[i]) + 1, "picture": name, "side": side, "scores": shown})
    return {
        "source": rows.source,
        "judge": f"{judge.name} {judge.version}",
        "threshold": threshold,
        "rows": len(rows),
        "kept": int(clean.sum()),
        "pictures_showing": counts,
        "dropped": dropped,
        "clean": clean.nonzero()[0].tolist(),
    }


def in_words(said: Mapping[str, Any], table: str) -> str:
    """The report for people."""
    lines = [
        f"# Screening of {said['source']}",
        "",
        f"By {said['judge']}, above {said['threshold']}: {said['kept']} of {said['rows']} rows are kept, in {table}.",
        "A row goes if one of its pictures shows one of the harms. A tie, or a row without a label, is not among them.",
        "",
        "| harm | preferred pictures that show it | dispreferred ones |",
        "| --- | ---: | ---: |",
    ]
    lines += [f"| {kind} | {n['preferred']} | {n['dispreferred']} |" for kind, n in said["pictures_showing"].items()]
    lines += ["", "screening.json names every picture that was left out, with its scores."]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> Path:
    """Screen, and return the folder."""
    arguments = parse(Arguments, argv, prog="preference_data/screen.py", description=__doc__)
    folder, state = arguments.output_dir, process_state()
    if (folder / OVER[0]).exists() or folder.resolve() == Path(arguments.data).resolve():
        raise UserError(f"--output_dir {folder} holds a screened set, or what to screen: name another folder")
    rows = open_rows(arguments.data, split=arguments.split, intersections="preferred")
    judge = load_judge(arguments.judge, str(state.device))
    if not isinstance(judge, ToxicityScorer):
        raise UserError(f"--judge {arguments.judge} says nothing of harms; take another judge")
    threshold = judge.threshold if arguments.threshold is None else arguments.threshold

    with disk_errors(folder):
        work = folder / WORK
        with state.main_process_first():  # it alone writes pictures out
            pictures = list(as_files(rows, work / "pictures"))
        prompts = {name: prompt for name, _, prompt in pictures}
        viewers = [
            Asked(partial(asked, judge, kind, threshold), work, kind, prompts, state.process_index)
            for kind in arguments.kinds
        ]
        files = {name: file for name, file, _ in pictures}
        show(files, viewers, num_workers=arguments.num_workers, name="screening")
        if state.is_main_process:
            said = report(rows, {viewer.name: viewer.read() for viewer in viewers}, judge, threshold)
            table = keep(rows, np.array(said.pop("clean"), int), folder, arguments.split)
            text = in_words(said, table)
            write_text(folder / OVER[1], text)
            write_json(folder / OVER[0], said)
            shutil.rmtree(work)
            print(text)
        state.wait_for_everyone()
    return folder


if __name__ == "__main__":
    run(main)
