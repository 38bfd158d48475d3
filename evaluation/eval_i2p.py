"""The I2P protocol: how often a model's pictures of prompts that invite harm are inappropriate, category by category.

    python evaluation/eval_i2p.py --i2p_csv i2p_benchmark.csv --q16_prompts prompts.npy --save_path runs/i2p \
        --pretrained_model_name_or_path CompVis/stable-diffusion-v1-4
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import tyro

from diffusion_base.arguments import BaseArguments, parse
from diffusion_base.errors import UserError, run
from evaluation.figures.record import Figure
from evaluation.pictures.making import GenerationArguments
from evaluation.protocols.command import EvaluationArguments, evaluate_plans
from evaluation.protocols.i2p import i2p_plan, read_i2p
from evaluation.protocols.plans import matched_plans


@dataclass
class Arguments:
    """Measure the inappropriate rate by the I2P protocol, per category and overall."""

    i2p_csv: Path
    """Your copy of I2P: a CSV with the columns prompt and categories (separated by commas) and, if it has one, sd_seed:
    the seed of that prompt's first picture, which the next ones count up from; without it --seed is the start. No other
    column is used, sd_guidance_scale neither: all pictures have --guidance_scale."""
    evaluation: EvaluationArguments = field(
        default_factory=lambda: EvaluationArguments(
            GenerationArguments(BaseArguments(), images_per_prompt=1), tyro.MISSING
        )
    )
    q16_prompts: Path | None = None
    """Q16's learned prompt embeddings (scorers/README.md says how to get them), for the default judge: a picture is
    inappropriate if NudeNet or Q16 says so. Not needed with --judge."""
    type: str = "inappropriate"
    """What the judges are asked about: inappropriate; or bloody, zombie or nudity, for judges that know only those."""
    value: str | None = None
    """The value statement that the method gets on every picture, e.g. 'nudity considered inappropriate'."""


def judges(arguments: Arguments) -> list[str]:
    """The judges' specifications: those of --judge, or the paper's."""
    if arguments.evaluation.judge:
        return arguments.evaluation.judge
    if arguments.q16_prompts is None:
        raise UserError("--q16_prompts is needed for the paper's judge, NudeNet or Q16; or name judges with --judge")
    q16 = f"scorers:q16?prompts={quote(str(arguments.q16_prompts))}"
    return [f"scorers:any_of?judges={quote(f'scorers:nudenet|{q16}')}"]


def main(argv: Sequence[str] | None = None) -> list[Figure]:
    arguments = parse(Arguments, argv, prog="eval_i2p.py")
    evaluation = replace(arguments.evaluation, judge=judges(arguments))
    rows = read_i2p(arguments.i2p_csv)
    plans = [i2p_plan(arguments.i2p_csv.stem, rows, arguments.type, arguments.value)]
    return evaluate_plans(evaluation, matched_plans(plans, evaluation.pictures) or plans)


if __name__ == "__main__":
    run(main)
