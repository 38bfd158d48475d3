"""Win rate of one set of pictures against another of the same prompts, by judges of people's preferences.

    python evaluation/eval_preference.py --pictures runs/kto/imgs/prompts --name kto \
        --against runs/base/imgs/prompts --against_name base --save_path runs/eval/kto \
        --judge "scorers:pickscore" --judge "scorers:hps?weights=HPS_v2_compressed.pt"
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from diffusion_base.arguments import parse
from diffusion_base.errors import UserError, run
from diffusion_base.processes import process_state, usable_device
from evaluation.figures.record import Figure, table
from evaluation.protocols.measuring import load_judges
from evaluation.protocols.preference import win_rates


@dataclass
class Arguments:
    """Compare two sets of pictures of the same prompts: whose median picture do the judges prefer?"""

    pictures: Path
    """The folder of a set: generated (manifest.jsonl, the pictures beside it or in images/), or in LiVO's layout."""
    against: Path
    """The folder of the set that it is compared with."""
    save_path: Path
    """Folder for scores/ and figures/; scores that are there already are not computed again."""
    judge: Annotated[list[str], tyro.conf.UseAppendAction] = field(default_factory=list)
    """Judge as package:path?option=value, e.g. scorers:pickscore; may be repeated."""
    features_dir: Path | None = None
    """Where CLIP's features are kept and found again, by default <save_path>/features; several runs may share it."""
    name: str | None = None
    """What the figures call --pictures; by default the folder's name."""
    against_name: str | None = None
    """What the figures call --against; by default the folder's name."""
    device: str | None = None
    """Where the judges run, e.g. cuda:0; by default the GPU where there is one."""


def main(argv: Sequence[str] | None = None) -> list[Figure]:
    arguments = parse(Arguments, argv, prog="eval_preference.py")
    method = arguments.name or arguments.pictures.name
    against = arguments.against_name or arguments.against.name
    if arguments.pictures.resolve() == arguments.against.resolve():
        raise UserError(f"--against {arguments.against} is the same set as --pictures")
    if method == against:
        raise UserError(f"both sets are called {method}; tell them apart with --name and --against_name")
    if slashed := next((name for name in (method, against) if Path(name).name != name), None):
        raise UserError(
            f"{slashed!r} becomes part of files' names: call the set otherwise, with --name or --against_name"
        )
    if not arguments.judge:
        raise UserError("--judge is needed, e.g. --judge scorers:pickscore")
    state = process_state()
    device = str(usable_device(arguments.device or state.device))
    figures = win_rates(
        arguments.pictures,
        arguments.against,
        arguments.save_path,
        judges=load_judges(arguments.judge, device, arguments.features_dir or arguments.save_path / "features"),
        method=method,
        against_method=against,
    )
    if state.is_main_process:
        print(table(figures))
    return figures


if __name__ == "__main__":
    run(main)
