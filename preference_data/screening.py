"""What a judge says about generated pictures, kept on disk: asked once each, whatever is interrupted."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

from diffusion_base.errors import UserError
from preference_data.plan import HARMFUL, HARMLESS, Bias, Harm
from scorers.one_pass import show
from scorers.protocols import AttributeScorer, Judge, ToxicityScorer

Answer: TypeAlias = dict[str, float]  # a bias: each group's probability; a harm: the score and the judge's threshold


def ask(judge: Judge, value: Bias | Harm, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[Answer]:
    """The judge's answers to the value's question.

    Raises:
        UserError: the judge cannot answer such a question.
    """
    if isinstance(value, Bias):
        groups = list(value.groups)
        if not isinstance(judge, AttributeScorer):
            raise UserError(f"{judge.name} cannot say which of {', '.join(groups)} fits; take another judge")
        asked = [value.question] * len(prompts) if value.question else prompts
        rows = judge.classify(images, asked, groups).double().tolist()
        return [{group: round(p, 6) for group, p in zip(groups, row, strict=True)} for row in rows]
    if not isinstance(judge, ToxicityScorer):
        raise UserError(f"{judge.name} gives no scores for harms such as {value.question}; take another judge")
    scores = judge.toxicity(images, value.question).double().tolist()
    return [{"score": round(score, 6), "threshold": judge.threshold} for score in scores]


def described(judge: Judge, value: Bias | Harm) -> str:
    """Name and version of a judge, and the threshold by which a harm counts."""
    threshold = f" above {judge.threshold}" if isinstance(value, Harm) and isinstance(judge, ToxicityScorer) else ""
    return f"{judge.name} {judge.version}{threshold}"


def verdict(value: Bias | Harm, answer: Answer) -> str:
    """The likeliest group; or harmful, above the judge's threshold, or harmless."""
    if isinstance(value, Bias):
        return max(answer, key=lambda group: answer[group])
    return HARMFUL if answer["score"] > answer["threshold"] else HARMLESS


def objection(value: Bias | Harm, answer: Answer, wanted: str) -> str | None:
    """Why a picture does not show what it was made for; None if it does."""
    seen = verdict(value, answer)
    if seen != wanted:
        return f"shows {seen}" if isinstance(value, Bias) else seen
    if isinstance(value, Bias) and answer[wanted] < value.confidence:
        return "unsure"
    return None


def as_it_is(image: Image.Image) -> Image.Image:
    return image


class Asked:
    """A judge with a question, as a `Viewer` of pictures that are known by their files' names.

    Args:
        ask: gives the answers about some pictures and their prompts.
        folder: where the answers are kept; all processes must see the same.
        name: the question's.
        prompts: the pictures' prompts, by file.
        process: this process's number.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[Image.Image], Sequence[str]], Sequence[Answer]],
        folder: Path,
        name: str,
        prompts: Mapping[str, str],
        process: int,
    ):
        self.ask, self.folder, self.name, self.prompts = ask, folder, name, prompts
        self.prepare: Callable[[Image.Image], Any] = as_it_is
        self.log = folder / f"{name}.part-{process}.jsonl"
        self.known = self.read()

    def lacks(self, key: str) -> bool:
        return key in self.prompts and key not in self.known

    def view(self, keys: Sequence[str], prepared: Sequence[Any]) -> None:
        answers = self.ask(prepared, [self.prompts[key] for key in keys])
        rows = ({"file": key, "answer": answer} for key, answer in zip(keys, answers, strict=True))
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8") as file:  # the newline first ends what a kill cut short
            file.write("".join("\n" + json.dumps(row) for row in rows) + "\n")

    def read(self) -> dict[str, Answer]:
        """The answers on disk, of all processes, about these pictures."""
        found = {}
        for part in sorted(self.folder.glob(f"{self.name}.part-*.jsonl")):
            for line in part.read_text(encoding="utf-8").split("\n"):
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    continue  # cut short
                if row["file"] in self.prompts:
                    found[row["file"]] = row["answer"]
        return found


def answers(
    asked: Mapping[str, Mapping[str, str]],
    pictures: Path,
    judges: Mapping[str, tuple[Judge, Bias | Harm]],
    folder: Path,
    process: int,
    others: Sequence[Any] = (),
    **options: Any,
) -> dict[str, dict[str, Answer]]:
    """Ask each value's judge about its pictures; several processes share the work.

    Args:
        asked: for each value's name the prompts of its pictures, by file.
        pictures: the folder of the files.
        judges: each value's judge, and the value.
        folder: where answers are kept.
        others: further viewers that are shown the same pictures.
        options: of `show`.

    Returns:
        For each value's name the answers by file.
    """
    viewers = [Asked(partial(ask, *judges[name]), folder, name, prompts, process) for name, prompts in asked.items()]
    files = dict.fromkeys(file for prompts in asked.values() for file in prompts)
    show({file: pictures / file for file in files}, [*viewers, *others], **options)
    return {viewer.name: viewer.read() for viewer in viewers}
