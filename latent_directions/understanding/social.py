"""Which people a folder of pictures shows: the share of each class, by any judge, with intervals.

    python -m latent_directions.understanding.social --pictures runs/base/images runs/fair/images --names base fair \\
        --output_dir runs/social --groups gender race --judge "scorers:clip?model=openai/clip-vit-large-patch14"

gender (binary) and race (seven groups) are built in; `--choices old young` names classes of one's own, and
`--groups_file` a YAML file of several. Every picture counts for the class that the judge finds likeliest.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from PIL import Image
from scipy.stats import binomtest

from diffusion_base.arguments import Count, check_ranges, parse
from diffusion_base.data import load_image
from diffusion_base.errors import UserError, run
from diffusion_base.files import write_jsonl
from diffusion_base.processes import process_state
from latent_directions.understanding import charts
from latent_directions.understanding.groups import WORDING, Group, named_groups
from latent_directions.understanding.pictures import named_folders
from latent_directions.understanding.tables import aligned, write_table
from scorers.clip import chunks
from scorers.protocols import AttributeScorer, Judge, load_judge

BATCH = 64


@dataclass(kw_only=True)
class Arguments:
    pictures: list[Path]
    """Folders of pictures, to be seen side by side."""
    output_dir: Path
    """Where shares.csv, shares.json, answers.jsonl and the charts go."""
    names: list[str] | None = None
    """What tables call the folders, one each; by default as they are called themselves."""
    groups: list[str] | None = None
    """gender, race, or a group of --groups_file; by default gender, or all of the file."""
    groups_file: Path | None = None
    """YAML file of groups, `age: {choices: [young, old], wording: "a photo of a {choice} person"}` each."""
    choices: list[str] | None = None
    """Classes of one's own, instead of groups."""
    wording: str = WORDING
    """The sentence about each of --choices, put to judges that read."""
    judge: str = "scorers:clip"
    """Who looks at the pictures, as scorers/README.md names judges."""
    batch_size: Count = BATCH
    """Pictures that the judge is shown together."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.choices and (self.groups or self.groups_file):
            raise UserError("--choices and --groups exclude each other: give one of them")


@dataclass(frozen=True)
class Share:
    """Of a set of n pictures the share that shows one of a group's choices, with its 95% interval over pictures."""

    pictures: str
    group: str
    choice: str
    n: int
    count: int
    share: float
    low: float
    high: float


def share_of(count: int, n: int) -> tuple[float, float, float]:
    """A share with its exact 95% interval (Clopper & Pearson 1934)."""
    limits = binomtest(count, n).proportion_ci(0.95, method="exact")
    return count / n, float(limits.low), float(limits.high)


def shares(name: str, group: Group, answers: Sequence[str]) -> list[Share]:
    """A share a choice, of the answers about a set of pictures."""
    counts = [answers.count(choice) for choice in group.choices]
    return [
        Share(name, group.name, choice, len(answers), count, *share_of(count, len(answers)))
        for choice, count in zip(group.choices, counts, strict=True)
    ]


def answers_of(judge: AttributeScorer, group: Group, files: Sequence[Path], batch_size: int = BATCH) -> list[dict]:
    """A row a picture: what the judge calls it, and how sure it is of each choice."""
    rows = []
    for batch in chunks(files, batch_size):
        images = [load_image(file) for file in batch]
        found = judge.classify(images, [group.wording] * len(images), group.choices).double()
        for file, probabilities in zip(batch, found.tolist(), strict=True):
            best = max(range(len(group.choices)), key=probabilities.__getitem__)
            row: dict[str, Any] = {"file": str(file), "group": group.name, "choices": list(group.choices)}
            row |= {"judge": judge.name, "version": judge.version, "answer": group.choices[best]}
            rows.append(row | {"probabilities": [round(p, 6) for p in probabilities]})
    return rows


def social_judge(judge: Judge, groups: Sequence[Group]) -> AttributeScorer:
    """The judge, if it knows these groups: asked about a grey picture before the work begins.

    Raises:
        UserError: it names no groups at all, or not these.
    """
    if not isinstance(judge, AttributeScorer):
        raise UserError(f"{judge.name} cannot say which of a group's words fits a picture; take another --judge")
    for group in groups:
        try:
            judge.classify([Image.new("RGB", (64, 64), "grey")], [group.wording], group.choices)
        except UserError as error:
            reason = str(error).rstrip(".")
            raise UserError(f"group {group.name!r}: {reason}; take another --judge, or words that it knows") from None
    return judge


def write_chart(folder: Path, group: Group, found: Sequence[Share], judge: str) -> None:
    """{group}.png, the sets side by side."""
    own = [of for of in found if of.group == group.name]
    sets = dict.fromkeys(of.pictures for of in own)
    bars = {name: [charts.Bar(of.share, of.low, of.high) for of in own if of.pictures == name] for name in sets}
    title = f"{group.name}, as {judge} sees it"
    charts.save(charts.share_bars(title, group.choices, bars, 1 / len(group.choices)), folder / f"{group.name}.png")


def table(found: Sequence[Share]) -> str:
    """The shares as text in columns."""
    return aligned(
        [
            [of.pictures, of.choice, f"{of.share:.2f}", f"[{of.low:.2f}, {of.high:.2f}]", f"{of.count} of {of.n}"]
            for of in found
        ]
    )


def main(argv: Sequence[str] | None = None) -> Path:
    """Judge the pictures, and return the folder of the tables."""
    arguments = parse(Arguments, argv, prog="python -m latent_directions.understanding.social", description=__doc__)
    out = arguments.output_dir
    if arguments.choices:
        groups = [Group("choices", tuple(arguments.choices), arguments.wording)]
    else:
        default = [] if arguments.groups_file else ["gender"]
        groups = named_groups(arguments.groups or default, arguments.groups_file)
    files = named_folders(arguments.pictures, arguments.names)
    judge = social_judge(load_judge(arguments.judge, str(process_state().device)), groups)
    answers, found = [], []
    for group in groups:
        for name, own in files.items():
            rows = answers_of(judge, group, own, arguments.batch_size)
            answers += [{"pictures": name, **row} for row in rows]
            found += shares(name, group, [row["answer"] for row in rows])
    write_jsonl(out / "answers.jsonl", answers)
    write_table(out / "shares", [asdict(of) for of in found], [of.name for of in fields(Share)])
    for group in groups:
        write_chart(out, group, found, judge.name)
    print(f"{table(found)}\n\ntables and charts: {out.resolve()}")
    return out


if __name__ == "__main__":
    run(main)
