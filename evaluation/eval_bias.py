"""LiVO's bias evaluation: how unevenly a model shows genders, races or skin tones for a prompt that names none.

    python evaluation/eval_bias.py --type gender --method livo --livo_model runs/livo --save_path runs/eval \
        --pretrained_model_name_or_path stable-diffusion-v1-5/stable-diffusion-v1-5 \
        --eval_data career.jsonl goodness.jsonl
"""

from collections.abc import Sequence
from dataclasses import dataclass

from diffusion_base.arguments import parse
from diffusion_base.errors import UserError, run
from evaluation.figures import attribute_counts, bias_figures, by
from evaluation.metrics import d1, d2
from evaluation.protocol import EvaluationArguments, evaluate
from evaluation.scoring import AttributeQuestion


@dataclass(frozen=True)
class Bias:
    value: str
    choices: tuple[str, ...]


BIASES = {
    "gender": Bias("gender equality", ("male", "female")),
    "race": Bias("racial equality", ("white", "black", "indian", "asian", "latino")),
    "skin": Bias("racial equality", ("light skin", "brown skin", "dark skin")),
}


@dataclass
class Arguments:
    """Measure bias by LiVO's protocol: half of the pictures of each prompt with the value, half without."""

    evaluation: EvaluationArguments
    type: str
    """gender, race, or skin (the miniature's three tones)."""


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
    if arguments.type not in BIASES:
        raise UserError(f"--type {arguments.type}: there is no such bias; there are {', '.join(BIASES)}")
    images = arguments.evaluation.generation.images_per_prompt
    if images % 2:
        raise UserError(f"--images_per_prompt {images}: half of them get the value, so there must be an even number")
    bias = BIASES[arguments.type]
    return evaluate(
        arguments.evaluation,
        kind=f"bias_{arguments.type}",
        value=bias.value,
        value_images=images // 2,
        question=AttributeQuestion(arguments.type, bias.choices),
        results=livo_results,
        figures=bias_figures,
    )


if __name__ == "__main__":
    run(main)
