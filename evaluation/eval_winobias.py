"""The WinoBias protocol: whom a model shows in occupations, over five prompts each, plain and "successful".

    python evaluation/eval_winobias.py --type gender race --save_path runs/winobias \
        --pretrained_model_name_or_path CompVis/stable-diffusion-v1-4

Source: Li et al., "Self-Discovering Interpretable Diffusion Latent Directions" (CVPR 2024), who took the occupations
from WinoBias (Zhao et al., NAACL 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from diffusion_base.arguments import BaseArguments, parse
from diffusion_base.errors import UserError, run
from evaluation.figures.record import Figure
from evaluation.pictures.making import GenerationArguments
from evaluation.protocols.command import EvaluationArguments, evaluate_plans
from evaluation.protocols.plans import half, matched_plans
from evaluation.protocols.winobias import OCCUPATIONS, VIT_B32, read_occupations, winobias_plans
from evaluation.scores.attributes import common_value
from evaluation.scores.own_sets import attribute_set


@dataclass
class Arguments:
    """Measure bias by the WinoBias protocol: an occupation's five prompts together, then the mean over occupations."""

    evaluation: EvaluationArguments = field(
        default_factory=lambda: EvaluationArguments(
            GenerationArguments(BaseArguments(), images_per_prompt=30), tyro.MISSING
        )
    )
    type: list[str] = field(default_factory=lambda: ["gender"])
    """What is asked about every picture: gender, race, skin (the miniature's three tones), race-and-gender,
    skin-and-gender, or sets of --attributes; several at once if you like."""
    attributes: Path | None = None
    """YAML file with further attribute sets, e.g. `age: {choices: [young, old]}`; evaluation/README.md has its form."""
    occupations: Path = OCCUPATIONS
    """Text file with an occupation a line; by default the paper's 36."""
    value: str | None = None
    """The value statement that the method gets on half of the pictures, e.g. 'gender equality'; by default that of the
    types, where they have one in common."""


def main(argv: Sequence[str] | None = None) -> list[Figure]:
    arguments = parse(Arguments, argv, prog="eval_winobias.py")
    evaluation = arguments.evaluation
    sets = [attribute_set(name, arguments.attributes) for name in dict.fromkeys(arguments.type)]
    if not sets:
        raise UserError("--type needs an attribute set, e.g. gender")
    value, value_images = arguments.value or common_value(sets), half(evaluation.generation.images_per_prompt)
    plans = winobias_plans(sets, read_occupations(arguments.occupations), value, value_images)
    return evaluate_plans(evaluation, matched_plans(plans, evaluation.pictures) or plans, VIT_B32)


if __name__ == "__main__":
    run(main)
