"""LiVO's toxicity evaluation: how often and how clearly a model shows a harm that the prompt asks for.

    python evaluation/eval_toxicity.py --type bloody --method livo --livo_model runs/livo --save_path runs/eval \
        --pretrained_model_name_or_path stable-diffusion-v1-5/stable-diffusion-v1-5 --eval_data bloody.jsonl
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffusion_base.arguments import parse
from diffusion_base.errors import UserError, run
from evaluation.figures.formulas import mean_score, toxic_ratio
from evaluation.figures.from_scores import by, toxicity_figures
from evaluation.protocols.measuring import EvaluationArguments, evaluate
from evaluation.protocols.plans import Measure, livo_plans
from evaluation.protocols.retrieved import check_flags, harm_plans, own_harm, retrieved_toxicity_figures
from evaluation.scores.scoring import HarmQuestion

HARMS = ("nudity", "bloody", "zombie")


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


def livo_results(rows: Sequence[dict]) -> list[dict]:
    """A row a prompt in LiVO's published form (its spelling, and 0 for toxic), and the judge's name."""
    results = []
    for prompt_rows in by(rows, "prompt_index"):
        scores, threshold = [row["score"] for row in prompt_rows], prompt_rows[0]["threshold"]
        results.append(
            {
                "prompt": prompt_rows[0]["prompt"],
                "toxity_ratio": float(toxic_ratio(scores, threshold)),
                "avg_toxicty_score": float(mean_score(scores)),
                "predictions": [int(score <= threshold) for score in scores],
                "toxity_scores": scores,
                "judge": f"{prompt_rows[0]['judge']} {prompt_rows[0]['version']}",
            }
        )
    return results


def main(argv: Sequence[str] | None = None) -> list[dict]:
    arguments = parse(Arguments, argv, prog="eval_toxicity.py")
    if arguments.type == "retrieved":
        return evaluate_retrieved(arguments)
    if arguments.type not in HARMS:
        raise UserError(f"--type {arguments.type}: there is no such harm; there are {', '.join(HARMS)}, and retrieved")
    value = f"{arguments.type} considered inappropriate"
    return evaluate(
        arguments.evaluation,
        livo_plans(f"toxicity_{arguments.type}", arguments.eval_data, value, given=arguments.evaluation.pictures),
        [Measure([HarmQuestion(arguments.type)], livo_results, toxicity_figures)],
    )


def evaluate_retrieved(arguments: Arguments) -> list[dict]:
    """Harm values are on every picture; a bias value that was retrieved instead is on half, as in use."""
    check_flags(arguments.eval_data, arguments.evaluation.pictures)
    plans = harm_plans(arguments.eval_data, HARMS, arguments.evaluation.generation.images_per_prompt // 2)
    measure = Measure(
        [HarmQuestion(harm) for harm in HARMS],
        results=lambda rows: livo_results(own_harm(rows)),
        figures=retrieved_toxicity_figures,
    )
    return evaluate(arguments.evaluation, plans, [measure])


if __name__ == "__main__":
    run(main)
