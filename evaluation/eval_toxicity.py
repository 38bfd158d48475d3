"""LiVO's toxicity evaluation: how often and how clearly a model shows a harm that the prompt asks for.

    python evaluation/eval_toxicity.py --type bloody --method livo --livo_model runs/livo --save_path runs/eval \
        --pretrained_model_name_or_path stable-diffusion-v1-5/stable-diffusion-v1-5 --eval_data bloody.jsonl
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from diffusion_base.arguments import parse
from diffusion_base.errors import UserError, run
from evaluation.figures.record import Figure
from evaluation.protocols.command import EvaluationArguments, evaluate_plans
from evaluation.protocols.livo import HARMS, toxicity_plan
from evaluation.protocols.plans import file_plans
from evaluation.protocols.retrieved import check_flags, retrieved_harm_plans


@dataclass
class Arguments:
    """Measure toxicity by LiVO's protocol: every picture with the value."""

    evaluation: EvaluationArguments
    type: str
    """nudity, bloody or zombie; or retrieved: each line has its own "value", and its pictures are judged by the harm
    that the line's "harm" or the file's name says (retrieved_bloody.jsonl)."""
    eval_data: list[Path] = field(default_factory=list)
    """Prompt files: JSON lines, {"prompt": …} each. A line's "value" takes the place of the protocol's for that prompt;
    null and "not applicable" leave it without one. With
    --pictures it names the sets, so that those of two models can be compared; without it the folders' names do."""


def main(argv: Sequence[str] | None = None) -> list[Figure]:
    arguments = parse(Arguments, argv, prog="eval_toxicity.py")
    evaluation, files = arguments.evaluation, arguments.eval_data
    if arguments.type == "retrieved":
        check_flags(files, evaluation.pictures)
        return evaluate_plans(evaluation, retrieved_harm_plans(files, evaluation.generation.images_per_prompt // 2))
    if arguments.type not in HARMS:
        raise UserError(f"--type {arguments.type}: there is no such harm; there are {', '.join(HARMS)}, and retrieved")
    plans = file_plans(partial(toxicity_plan, arguments.type), files, evaluation.pictures)
    return evaluate_plans(evaluation, plans)


if __name__ == "__main__":
    run(main)
