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
from evaluation.figures.formulas import d1, d2
from evaluation.figures.from_scores import attribute_counts, by
from evaluation.protocols.measuring import EvaluationArguments, evaluate
from evaluation.protocols.plans import Measure, half, livo_plans
from evaluation.protocols.retrieved import bias_plans, bias_results, by_value, check_flags, retrieved_bias_figures
from evaluation.scores.attributes import answers, attribute_figures
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


def livo_results(rows: Sequence[dict]) -> list[dict]:
    """A row a prompt in LiVO's published form, and the judge's name."""
    results = []
    for prompt_rows in by(rows, "prompt_index"):
        choices, counts = prompt_rows[0]["choices"], attribute_counts(prompt_rows)
        results.append(
            {
                "prompt": prompt_rows[0]["prompt"],
                "result": dict(zip(choices, counts, strict=True)),
                "discrepancy_score_1": float(d1(counts)),
                "discrepancy_score_2": float(d2(counts)),
                "raw_result": [choices.index(row["answer"]) for row in prompt_rows],
                "judge": f"{prompt_rows[0]['judge']} {prompt_rows[0]['version']}",
            }
        )
    return results


def main(argv: Sequence[str] | None = None) -> list[dict]:
    arguments = parse(Arguments, argv, prog="eval_bias.py")
    value_images = half(arguments.evaluation.generation.images_per_prompt)
    if arguments.type == "retrieved":
        return evaluate_retrieved(arguments, value_images)
    attributes = attribute_set(arguments.type, arguments.attributes)
    value = arguments.value or attributes.value
    return evaluate(
        arguments.evaluation,
        livo_plans(f"bias_{arguments.type}", arguments.eval_data, value, value_images, arguments.evaluation.pictures),
        [
            Measure(
                attributes.questions,
                results=lambda rows: livo_results(answers(attributes, rows)),
                figures=partial(attribute_figures, attributes),
            )
        ],
    )


def evaluate_retrieved(arguments: Arguments, value_images: int) -> list[dict]:
    if arguments.value is not None:
        raise UserError("--value has no place beside --type retrieved: each line of --eval_data has its own")
    check_flags(arguments.eval_data, arguments.evaluation.pictures)
    sets = by_value([attribute_set(name, arguments.attributes) for name in arguments.retrieved_types])
    return evaluate(
        arguments.evaluation,
        bias_plans(arguments.eval_data, sets, value_images),
        [
            Measure(
                [question for attributes in sets.values() for question in attributes.questions],
                results=partial(bias_results, sets, livo_results),
                figures=partial(retrieved_bias_figures, sets),
            )
        ],
    )


if __name__ == "__main__":
    run(main)
