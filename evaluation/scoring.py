"""Pictures to scores: a row a picture and a judge, kept so that any figure can be had again without pictures."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from diffusion_base.data import inside, load_image, read_jsonl
from diffusion_base.errors import UserError
from scorers.protocols import AttributeScorer, Judge, PreferenceScorer, ToxicityScorer


@dataclass(frozen=True)
class AttributeQuestion:
    """Which of some words fits the picture? The answer: `probabilities`, in the order of the choices, and `answer`."""

    question: str
    choices: tuple[str, ...]
    wording: str = ""
    """Put to judges that read, instead of the picture's prompt; `{choice}` stands for the choice."""

    def ask(self, judge: Judge, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[dict]:
        if not isinstance(judge, AttributeScorer):
            raise UserError(f"{judge.name} cannot say which of {', '.join(self.choices)} fits; take another judge")
        asked = [self.wording] * len(prompts) if self.wording else prompts
        probabilities = judge.classify(images, asked, self.choices).double()
        return [
            {"answer": self.choices[best], "probabilities": [round(p, 6) for p in row]}
            for best, row in zip(probabilities.argmax(-1).tolist(), probabilities.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class HarmQuestion:
    """Does the picture show this harm? The answer: `score` in [0, 1], and the judge's `threshold`."""

    question: str

    def ask(self, judge: Judge, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[dict]:
        if not isinstance(judge, ToxicityScorer):
            raise UserError(f"{judge.name} gives no scores for harms such as {self.question}; take another judge")
        scores = judge.toxicity(images, self.question).double().tolist()
        return [{"score": round(score, 6), "threshold": judge.threshold} for score in scores]


@dataclass(frozen=True)
class PreferenceQuestion:
    """How well would people like the picture for its prompt? The answer: `score`, on the judge's own scale."""

    question: str = "preference"

    def ask(self, judge: Judge, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[dict]:
        if not isinstance(judge, PreferenceScorer):
            raise UserError(f"{judge.name} does not know which pictures people prefer; take another judge")
        return [{"score": round(score, 6)} for score in judge.preference(images, prompts).double().tolist()]


Question = AttributeQuestion | HarmQuestion | PreferenceQuestion


def score_pictures(
    pictures: Sequence[tuple[Path, dict]],
    question: Question,
    judges: Sequence[Judge],
    scores_file: Path,
    *,
    batch_size: int = 64,
    progress: bool = True,
) -> list[dict]:
    """Ask every judge one question about every picture, except where `scores_file` has the answer already.

    Args:
        pictures: (file, its record in the manifest; "prompt" is needed).
        scores_file: JSON lines, written as the work goes on and put in order at the end. An answer is found again by
            the picture's content, the question, and the judge's name and version.

    Returns:
        The rows, judge by judge, in the order of the pictures: the record with `sha256` (16 digits of the file's), the
        question's fields, `judge`, `version` and the answer.

    Raises:
        UserError: a picture is missing or broken, or a judge does not know the question.
    """
    asked = json.loads(json.dumps(asdict(question)))  # as a file gives it back: tuples as lists
    wanted = [
        record | {"sha256": content_hash(path)} | asked | {"judge": judge.name, "version": judge.version}
        for judge in judges
        for path, record in pictures
    ]
    known = {_key(row): row for row in _read_rows(scores_file)}
    scores_file.parent.mkdir(parents=True, exist_ok=True)
    with (
        scores_file.open("a", encoding="utf-8") as log,
        tqdm(total=len(wanted), desc=f"score {question.question}", unit="picture", disable=not progress) as bar,
    ):
        for i, judge in enumerate(judges):
            own = wanted[i * len(pictures) : (i + 1) * len(pictures)]
            missing = [(path, row) for (path, _), row in zip(pictures, own, strict=True) if _key(row) not in known]
            bar.update(len(own) - len(missing))
            for start in range(0, len(missing), batch_size):
                batch = missing[start : start + batch_size]
                images = [load_image(path) for path, _ in batch]
                answers = question.ask(judge, images, [row["prompt"] for _, row in batch])
                for (_, row), answer in zip(batch, answers, strict=True):
                    known[_key(row)] = row | answer
                    log.write(json.dumps(row | answer, ensure_ascii=False) + "\n")
                log.flush()
                bar.update(len(batch))
    # the record comes first: a picture may have got another number or prompt since it was scored
    rows = [known[_key(row)] | row for row in wanted]
    contents, keys = {row["sha256"] for row in rows}, {_key(row) for row in rows}
    others = [row for key, row in known.items() if key not in keys and row["sha256"] in contents]
    write_jsonl(scores_file, rows + others)  # other judges' answers about these pictures stay
    return rows


def read_set(folder: Path, images_dir: str = "images") -> list[tuple[Path, dict]]:
    """The pictures of a generated set and their records, in the order of its manifest."""
    records = read_jsonl(folder / "manifest.jsonl", required=("file", "prompt"))
    if not records:
        raise UserError(f"{folder / 'manifest.jsonl'} names no picture")
    return [(inside(folder / images_dir, record["file"]), record) for record in records]


def content_hash(path: Path) -> str:
    """16 hex digits of the file's sha256."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such picture") from None


def write_jsonl(path: Path, rows: Sequence[dict]) -> None:
    """JSON lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    os.replace(unfinished, path)


def _read_rows(scores_file: Path) -> list[dict]:
    """The rows of an earlier run; a line that a kill cut short is scored again."""
    rows = []
    if scores_file.is_file():
        for line in scores_file.read_text(encoding="utf-8").split("\n"):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return rows


def _key(row: dict) -> str:
    """What makes two rows the same answer: picture, question and judge; the prompt, because some judges read it."""
    parts = ("sha256", "prompt", "question", "choices", "wording", "judge", "version")
    return json.dumps([row.get(part) for part in parts])
