"""The audit of the miniature's occupations, and how well it knows them: the world's own table says what is true.

    python scripts/audit.py --output_dir runs/audit

The oracle says whom and what the pictures show. results.json has, for gender and for tones, Spearman's correlation of
the shares that the audit finds with the world's, over occupations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from diffusion_base.arguments import BaseArguments, Count, SamplingArguments, check_ranges, parse
from diffusion_base.errors import run
from diffusion_base.files import write_json, write_text
from latent_directions.understanding import audit as auditing
from latent_directions.understanding.findings import Array, spearman, with_interval
from latent_directions.understanding.page import Audit
from miniature import GUIDANCE
from miniature.oracle import HEADS
from miniature.world import OCCUPATIONS, SKIN_TONES, gender_odds, skin_odds

OF_PEOPLE = {"gender", "skin", "age"}  # the oracle's heads that are no things


@dataclass
class Arguments:
    output_dir: Path = Path("runs/audit")
    """Where audit.html, results.json, the tables and the pictures go."""
    pretrained_model_name_or_path: Path = Path("assets/miniature")
    """The miniature, with its clip/ and oracle/."""
    images: Count = 24
    """Pictures of each occupation."""
    sampling: SamplingArguments = field(
        default_factory=lambda: SamplingArguments(guidance_scale=GUIDANCE, batch_size=24, mixed_precision="bf16")
    )

    def __post_init__(self) -> None:
        check_ranges(self)


def audit_arguments(arguments: Arguments) -> auditing.Arguments:
    """The audit's own, with the files that it reads."""
    out, base = arguments.output_dir, arguments.pretrained_model_name_or_path
    tones = {"skin": {"choices": list(SKIN_TONES), "wording": "a photo of a person with {choice}"}}
    words = {head: {"choices": list(words)} for head, words in HEADS.items() if head not in OF_PEOPLE}
    write_text(out / "concepts.txt", "\n".join(OCCUPATIONS) + "\n")
    write_text(out / "groups.yaml", yaml.safe_dump(tones))
    write_text(out / "vocabulary.yaml", yaml.safe_dump(words))
    return auditing.Arguments(
        concepts=out / "concepts.txt",
        output_dir=out,
        base=BaseArguments(str(base)),
        groups=["gender", "skin"],
        groups_file=out / "groups.yaml",
        images=arguments.images,
        clip=str(base / "clip"),
        judge=f"miniature:{base / 'oracle'}",
        vocabulary=out / "vocabulary.yaml",
        sampling=arguments.sampling,
    )


def against_the_world(found: Audit) -> list[dict]:
    """Spearman's correlation of the shares found with the world's, a group each, as results.json has figures."""
    rows = []
    for group in found.groups:
        findings = found.of_group(group)
        if group.name == "gender":
            true: Array = np.array([[gender_odds(of.concept)] for of in findings])
            drawn = np.array([[of.shares[1].share] for of in findings])
        else:
            true = np.array([skin_odds(of.concept) for of in findings])
            drawn = np.array([[share.share for share in of.shares] for of in findings])
        value, low, high = with_interval(spearman, true, drawn)
        rows.append(
            {"method": "audit", "metric": "Spearman", "group": group.name, "value": value, "low": low, "high": high}
            | {"floor": None, "n": sum(of.shown.n for of in findings), "judge": "oracle"}
        )
    return rows


def main(argv: Sequence[str] | None = None) -> Path:
    arguments = parse(Arguments, argv, prog="scripts/audit.py", description=__doc__)
    out = arguments.output_dir
    found = auditing.make_audit(audit_arguments(arguments))
    rows = against_the_world(found)
    write_json(out / "results.json", rows, indent=1)
    notes = [
        f"Against the world’s own table, {row['group']}: the shares rank the occupations with Spearman’s ρ = "
        f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]."
        for row in rows
    ]
    page = auditing.write_audit(found, out, notes)
    print("\n".join([auditing.table(found), "", *notes, "", f"page: {page.resolve()}"]))
    return page


if __name__ == "__main__":
    run(main)
