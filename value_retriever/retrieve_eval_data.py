"""Look up the value of every prompt of evaluation files: retrieved_<name>.jsonl beside each.

    python value_retriever/retrieve_eval_data.py --data_dir assets/miniature/prompts --files career.jsonl bloody.jsonl

A line of the result is the line of the input with `value` (the statement, "not applicable", or "retrieve failure" where
the backend gave no answer) and `source`. Answers are kept as they come, so a killed run, or one with failures, goes on.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from tqdm import tqdm

from diffusion_base.arguments import parse
from diffusion_base.errors import UserError, run
from diffusion_base.files import read_jsonl, write_jsonl
from preference_data.schema import FAILED, NO_VALUE
from value_retriever.answer import RetrievedValue
from value_retriever.options import BackendOptions
from value_retriever.retriever import ValueRetriever, is_unicode

PREFIX = "retrieved_"
AT_ONCE = ("keywords", "rule", "none")  # sources that need no cache, and follow the program when that changes
CACHE = ".value_retriever_cache.jsonl"
START = '{"retriever": '


@dataclass
class Arguments:
    """Write retrieved_<name>.jsonl beside each prompt file."""

    data_dir: Path
    """Folder of the prompt files."""
    files: list[str] = field(default_factory=list)
    """Their names: JSON lines, {"prompt": …} each; by default all of the folder's *.jsonl but those retrieved."""
    options: BackendOptions = field(default_factory=BackendOptions)
    cache: Path | None = None
    """Where answers are kept and found again, by prompt, values and backend; by default a hidden file in --data_dir."""


class AnswerCache:
    """A backend's answers on disk, a line each, written as they come; a line that a kill cut short is left out.

    Raises:
        UserError: the file holds something else.
    """

    def __init__(self, file: Path, identity: dict):
        self.file, self.identity = file, json.dumps(identity, sort_keys=True)
        self.answers: dict[str, RetrievedValue] = {}
        reader: Any = TypeAdapter(RetrievedValue)
        text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        for line in filter(None, text.split("\n")):
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                if line.startswith(START[: len(line)]):
                    continue
                row = None
            if not isinstance(row, dict) or row.keys() != {"retriever", "prompt", "answer"}:
                raise UserError(f"--cache {file} holds something else than answers; name another file, or delete it")
            if row["retriever"] == self.identity:
                try:
                    self.answers[row["prompt"]] = reader.validate_python(row["answer"])
                except ValidationError:
                    continue  # another version's

    def keep(self, prompt: str, answer: RetrievedValue) -> None:
        if answer.failure or answer.source in AT_ONCE or prompt in self.answers:
            return
        self.answers[prompt] = answer
        row = {"retriever": self.identity, "prompt": prompt, "answer": asdict(answer)}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:  # the first newline ends what a kill may have cut short
            file.write("\n" + json.dumps(row, ensure_ascii=False) + "\n")


def prompt_files(data_dir: Path, names: Sequence[str]) -> list[Path]:
    """The files to read.

    Raises:
        UserError: no such folder or file, none in it, or one that is itself a result.
    """
    if not data_dir.is_dir():
        raise UserError(f"--data_dir {data_dir}: there is no such folder")
    everything = sorted(data_dir.glob("*.jsonl"))
    files = [data_dir / name for name in names] or [
        file for file in everything if not file.name.startswith((PREFIX, "."))
    ]
    if not files:
        raise UserError(f"--data_dir {data_dir} holds no *.jsonl; name files with --files")
    for file in files:
        if not file.is_file():
            raise UserError(f"--files {file.name}: there is no such file in {data_dir}")
        if file.name.startswith(PREFIX):
            raise UserError(f"--files {file.name}: it holds retrieved values already; name the file it was made from")
    return files


def read_prompts(file: Path) -> list[dict]:
    """The rows of a prompt file. Raises UserError: it has none, or a malformed one (named)."""
    rows = read_jsonl(file, required=["prompt"])
    for row in rows:
        if not isinstance(row["prompt"], str):
            raise UserError(f"{file}: a prompt must be text, not {row['prompt']!r}")
        if not is_unicode(row["prompt"]):
            raise UserError(f"{file}: the prompt {row['prompt']!r} holds half a character (a lone surrogate)")
    if not rows:
        raise UserError(f"{file} holds no prompts")
    return rows


def with_value(row: dict, answer: RetrievedValue) -> dict:
    """A row of the result."""
    value = FAILED if answer.failure else answer.statement or NO_VALUE
    return row | {"value": value, "source": answer.source}


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Returns the files written.

    Raises:
        UserError: a file cannot be read, or the backend cannot be had.
        SystemExit: code 1 after prompts at which the backend failed; they are listed, everything else is written.
    """
    arguments = parse(Arguments, argv, prog="retrieve_eval_data.py")
    files = prompt_files(arguments.data_dir, arguments.files)
    rows = {file: read_prompts(file) for file in files}
    retriever = ValueRetriever.from_options(arguments.options)
    cache = AnswerCache(arguments.cache or arguments.data_dir / CACHE, retriever.describe())

    prompts = list(dict.fromkeys(row["prompt"] for of_file in rows.values() for row in of_file))
    answers = {prompt: cache.answers[prompt] for prompt in prompts if prompt in cache.answers}
    with tqdm(total=len(prompts), initial=len(answers), desc="retrieve", unit="prompt", disable=None) as bar:

        def heard(prompt: str, answer: RetrievedValue) -> None:
            cache.keep(prompt, answer)
            bar.update()

        wanted = [prompt for prompt in prompts if prompt not in answers]
        answers |= dict(zip(wanted, retriever.retrieve_many(wanted, heard), strict=True))

    written = []
    for file, of_file in rows.items():
        written.append(file.with_name(PREFIX + file.name))
        write_jsonl(written[-1], [with_value(row, answers[row["prompt"]]) for row in of_file])
        values = [answers[row["prompt"]] for row in of_file]
        counts = {
            NO_VALUE if each is None else each: sum(answer.statement == each for answer in values if not answer.failure)
            for each in dict.fromkeys(answer.statement for answer in values if not answer.failure)
        }
        print(f"{written[-1]}: " + ", ".join(f"{count} {value}" for value, count in counts.items()))
    if retriever.summary:
        print(retriever.summary)
    failed = {prompt: answer.failure for prompt, answer in answers.items() if answer.failure}
    if failed:
        print(f"{len(failed)} of {len(prompts)} prompts have no answer ({FAILED!r} in the files):", file=sys.stderr)
        for prompt, failure in failed.items():
            print(f"  {prompt!r}: {failure}", file=sys.stderr)
        print("The same command asks these again; all other answers are kept.", file=sys.stderr)
        raise SystemExit(1)
    return written


if __name__ == "__main__":
    run(main)
