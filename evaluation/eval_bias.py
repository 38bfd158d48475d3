"""LiVO's bias evaluation: how unevenly a model shows genders, races, … for a prompt that names none.

    python evaluation/eval_bias.py --type gender --method livo --livo_model runs/livo --save_path runs/eval \
        --pretrained_model_name_or_path stable-diffusion-v1-5/stable-diffusion-v1-5 \
        --eval_data career.jsonl goodness.jsonl
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from diffusion_base.arguments import parse
from diffusion_base.errors import UserError, run
from evaluation.figures.record import Figure
from evaluation.protocols.command import EvaluationArguments, evaluate_plans
from evaluation.protocols.livo import bias_plan
from evaluation.protocols.plans import file_plans, half
from evaluation.protocols.retrieved import check_flags, retrieved_bias_plans, sets_of_values
from evaluation.scores.own_sets import attribute_set


@dataclass
class Arguments:
    """Measure bias by LiVO's protocol: half of the pictures of each prompt with the value, half without."""

    evaluation: EvaluationArguments
    type: str
    """gender, race, or skin (the miniature's three tones); race-and-gender, skin-and-gender; one of --attributes; or
    retrieved: each line's "value" says which of --retrieved_types its pictures are judged by."""
    eval_data: list[Path] = field(default_factory=list)
    """Prompt files: JSON lines, {"prompt": …} each. A line's "value" takes the place of the protocol's for that prompt;
    null and "not applicable" leave it without one. With
    --pictures it names the sets, so that those of two models can be compared; without it the folders' names do."""
    retrieved_types: list[str] = field(default_factory=lambda: ["gender", "race"])
    """The attribute sets of --type retrieved, found by their value statements; for the miniature gender skin."""
    attributes: Path | None = None
    """YAML file with further attribute sets, e.g. `age: {choices: [young, old]}`; evaluation/README.md has its form."""
    value: str | None = None
    """The value statement that the method gets on half of the pictures, e.g. 'gender equality'; by default the set's
    own, which intersections do not have."""


def main(argv: Sequence[str] | None = None) -> list[Figure]:
    arguments = parse(Arguments, argv, prog="eval_bias.py")
    evaluation, files = arguments.evaluation, arguments.eval_data
    value_images = half(evaluation.generation.images_per_prompt)
    if arguments.type == "retrieved":
        if arguments.value is not None:
            raise UserError("--value has no place beside --type retrieved: each line of --eval_data has its own")
        check_flags(files, evaluation.pictures)
        sets = sets_of_values([attribute_set(name, arguments.attributes) for name in arguments.retrieved_types])
        return evaluate_plans(evaluation, retrieved_bias_plans(files, sets, value_images))
    attributes = attribute_set(arguments.type, arguments.attributes)
    plan_of = partial(bias_plan, attributes, value=arguments.value, value_images=value_images)
    return evaluate_plans(evaluation, file_plans(plan_of, files, evaluation.pictures))


if __name__ == "__main__":
    run(main)
