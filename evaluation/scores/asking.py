"""Pictures to scores: a row a picture and a judge, kept so that any figure can be had again without pictures."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from diffusion_base.files import write_jsonl
from diffusion_base.identity import content_keys
from diffusion_base.processes import process_state
from evaluation.scores.answers import AnswerLog, answer_key, parts, read_answers
from evaluation.scores.questions import Question
from scorers.clip import chunks
from scorers.feature_judge import FeatureJudge
from scorers.features import FeatureViewer
from scorers.one_pass import Viewer, show
from scorers.protocols import Judge

KEY_DIGITS = 16  # of a picture's sha256, in a row


def score_pictures(
    pictures: Sequence[tuple[Path, dict]],
    question: Question,
    judges: Sequence[Judge | FeatureJudge],
    scores_file: Path,
    *,
    batch_size: int = 64,
    num_workers: int = 2,
    progress: bool = True,
) -> list[dict]:
    """Ask every judge one question about every picture, except where `scores_file` has the answer already.

    A picture is decoded once for all judges. Several processes share the work: each takes whole batches and writes its
    answers beside `scores_file`, `.part-0` and so on; at the end they are put together.

    Args:
        pictures: (file, its record in the manifest; "prompt" is needed).
        scores_file: JSON lines. An answer is found again by the picture's content, the question, and the judge's name
            and version.
        batch_size: pictures at a time; it moves scores by no more than rounding.
        num_workers: processes that decode; 0 decodes in this one.

    Returns:
        The rows, judge by judge, in the order of the pictures: the record with `sha256` (16 digits of the file's), the
        question's fields, `judge`, `version` and the answer.

    Raises:
        UserError: a picture is missing or broken, or a judge does not know the question.
    """
    state = process_state()
    asked = json.loads(json.dumps(asdict(question)))  # as a file gives it back: tuples as lists
    keys = content_keys([path for path, _ in pictures])
    files = dict(zip(keys, (path for path, _ in pictures), strict=True))
    known = read_answers(scores_file)
    log = AnswerLog(scores_file, state.process_index)
    wanted: list[dict] = []
    viewers: list[Viewer] = []
    on_features: list[tuple[_Asked, FeatureViewer]] = []
    for judge in judges:
        viewer = _Asked(judge, question, log)
        for key, (_, record) in zip(keys, pictures, strict=True):
            row = record | {"sha256": key[:KEY_DIGITS]} | asked | {"judge": judge.name, "version": judge.version}
            wanted.append(row)
            if answer_key(row) not in known:
                viewer.lacking.setdefault(key, []).append(row)
        if isinstance(judge, FeatureJudge):
            on_features.append((viewer, FeatureViewer(judge.extractor, judge.folder, viewer.lacking)))
        else:
            viewers.append(viewer)

    show(
        files,
        [*viewers, *(features for _, features in on_features)],
        batch_size=batch_size,
        num_workers=num_workers,
        name=f"score {question.question}",
        progress=progress,
    )
    for viewer, features in on_features:
        rows = features.all_rows()
        for batch in list(chunks(list(viewer.lacking), batch_size))[state.process_index :: state.num_processes]:
            viewer.view(batch, [rows[key] for key in batch])
    state.wait_for_everyone()
    if state.is_main_process:
        _merge(scores_file, wanted)
    state.wait_for_everyone()
    known = read_answers(scores_file)
    # the record comes first: a picture may have got another number or prompt since it was scored
    return [known[answer_key(row)] | row for row in wanted]


def as_it_is(image: Image.Image) -> Image.Image:
    return image


class _Asked:
    """A judge as a `Viewer`: of the pictures whose answers are lacking, which are rows without them, by key."""

    def __init__(self, judge: Judge | FeatureJudge, question: Question, log: AnswerLog):
        self.judge, self.question, self.log = judge, question, log
        self.lacking: dict[str, list[dict]] = {}
        self.prepare: Callable[[Image.Image], Any] = as_it_is

    def lacks(self, key: str) -> bool:
        return key in self.lacking

    def view(self, keys: Sequence[str], prepared: Sequence[Image.Image] | Sequence[Tensor]) -> None:
        """Be shown pictures, or, where the judge works on these, their features (D,) each."""
        shown = [(row, content) for key, content in zip(keys, prepared, strict=True) for row in self.lacking[key]]
        contents, prompts = [content for _, content in shown], [row["prompt"] for row, _ in shown]
        if isinstance(self.judge, FeatureJudge):
            answers = self.question.ask_of_features(self.judge.judge, torch.stack(contents), prompts)
        else:
            answers = self.question.ask(self.judge, contents, prompts)
        self.log.write([row | answer for (row, _), answer in zip(shown, answers, strict=True)])


def _merge(scores_file: Path, wanted: Sequence[dict]) -> None:
    """Put all processes' answers in order into one file; other judges' answers about these pictures stay."""
    known = read_answers(scores_file)
    rows = [known[answer_key(row)] | row for row in wanted]
    contents, keys = {row["sha256"] for row in rows}, {answer_key(row) for row in rows}
    write_jsonl(
        scores_file, rows + [row for key, row in known.items() if key not in keys and row["sha256"] in contents]
    )
    for part in parts(scores_file):
        part.unlink()
