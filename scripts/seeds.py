"""What comes of several training seeds together: results.json and two reports. Called by seeds.sh.

python scripts/seeds.py --seeds 0 1 2 --output_dir runs/seeds
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusion_base.arguments import WholeNumber, parse
from diffusion_base.errors import UserError, run
from diffusion_base.files import write_json
from evaluation import compare
from evaluation.figures.stored import seed_fields, to_row
from evaluation.report.tables import markdown
from evaluation.report.wording import listed

# the folder of what a script compares, in words, and the runs that it leaves of every seed
COMPARED = {"livo": ("LiVO", ("livo",)), "vectors": ("Concept vectors", ("vectors", "subtracted", "rewritten"))}


@dataclass
class Arguments:
    seeds: tuple[WholeNumber, ...] = (0, 1, 2)
    """Of the trainings, two or more."""
    output_dir: Path = Path("runs/seeds")
    """Holds livo/ and vectors/, each with base/ and a folder a seed, and gets results.json."""

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < max(2, len(self.seeds)):
            raise UserError(f"--seeds needs two or more, no two alike, not {' '.join(map(str, self.seeds))}")


def main(argv: Sequence[str] | None = None) -> Path:
    """Returns results.json: a list of rows as the quickstart's has them, with `seeds` and what follows from these."""
    arguments = parse(Arguments, argv, prog="seeds.py", description=__doc__)
    out, seeds = arguments.output_dir, arguments.seeds
    intro = f"Each was trained with the seeds {listed([str(seed) for seed in seeds])}, and nothing else differed."
    rows, told = [], []
    for name, (words, methods) in COMPARED.items():
        folders = [out / name / f"seed{seed}" / method for method in methods for seed in seeds]
        title = f"{words} over {len(seeds)} training seeds"
        found = compare([out / name / "base", *folders], out / name, title=title, intro=intro)
        rows += [to_row(row.figure) | seed_fields(row.figure) for row in found.rows]
        told.append(f"{markdown(found, short=True)}\nreport: {(out / name / 'report.html').resolve()}\n")
    write_json(out / "results.json", rows, indent=1)
    print("\n".join([*told, f"figures: {out / 'results.json'}"]))
    return out / "results.json"


if __name__ == "__main__":
    run(main)
