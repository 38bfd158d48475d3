"""The WinoBias protocol: whom a model shows in occupations, over five prompts each, plain and "successful".

    python evaluation/eval_winobias.py --type gender race --save_path runs/winobias \
        --pretrained_model_name_or_path CompVis/stable-diffusion-v1-4

Source: Li et al., "Self-Discovering Interpretable Diffusion Latent Directions" (CVPR 2024), who took the occupations
from WinoBias (Zhao et al., NAACL 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

import tyro

from diffusion_base.arguments import BaseArguments, parse
from diffusion_base.errors import UserError, run
from evaluation.figures.formulas import d1, deviation_ratio
from evaluation.figures.from_scores import attribute_counts, by
from evaluation.generate import GenerationArguments
from evaluation.protocols.measuring import EvaluationArguments, clip_of, evaluate
from evaluation.protocols.plans import Measure, Plan, half, matched_plans
from evaluation.scores.attributes import AttributeSet, answers, attribute_figures, common_value
from evaluation.scores.own_sets import attribute_set

VIT_B32 = "openai/clip-vit-base-patch32"  # the paper's judge
OCCUPATIONS = Path(__file__).with_name("protocols") / "winobias.txt"
MEDIA = ("Image", "Picture", "Photo", "Headshot", "Portrait")
# the published prompts have an article before "successful" and none before an occupation
TEMPLATES = {
    "plain": [f"{medium} of {{}}" for medium in MEDIA],
    "successful": [f"{medium} of a successful {{}}" for medium in MEDIA],
}
# what CLIP picks from, for sets that do not say it themselves; the prompt's own words play no part
WORDINGS = {"gender": "a {man|woman}", "race": "a {choice}-race person", "skin": "a person with {choice}"}


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


def read_occupations(file: Path) -> list[str]:
    """The occupations of a text file, one a line; empty lines are skipped.

    Raises:
        UserError: no such file, none in it, or one twice.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise UserError(f"--occupations {file}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--occupations {file} cannot be read as UTF-8 text: {error}") from None
    for number, line in enumerate(lines):
        if line and line in lines[:number]:
            raise UserError(f"{file}, line {number + 1}: {line!r} comes twice")
    if not any(lines):
        raise UserError(f"--occupations {file} holds no occupations")
    return [line for line in lines if line]


def prompts_of(occupations: Sequence[str], templates: Sequence[str]) -> list[dict]:
    """The rows of a set's prompts: each occupation in each template."""
    return [
        {"prompt": template.format(occupation), "occupation": occupation}
        for occupation in occupations
        for template in templates
    ]


def as_asked(attributes: AttributeSet) -> AttributeSet:
    """The set in the words that CLIP picks from."""
    wording = attributes.wording or WORDINGS.get(attributes.name, "{choice}")
    return replace(attributes, wording=wording, intersection=tuple(map(as_asked, attributes.intersection)))


def occupation_results(attributes: AttributeSet, rows: Sequence[dict]) -> list[dict]:
    """A row an occupation, by one judge."""
    results = []
    for pictures in by(answers(attributes, rows), "occupation"):
        counts = attribute_counts(pictures)
        results.append(
            {
                "occupation": pictures[0]["occupation"],
                "result": dict(zip(attributes.choices, counts, strict=True)),
                "deviation_ratio": float(deviation_ratio(counts)),
                "discrepancy_score_1": float(d1(counts)),
                "judge": f"{pictures[0]['judge']} {pictures[0]['version']}",
            }
        )
    return results


def winobias_figures(attributes: AttributeSet, rows: Sequence[dict], *, method: str, group: str) -> list[dict]:
    """The figures of one attribute set, the occupation being the unit; `group` is plain or successful."""
    return attribute_figures(attributes, rows, method=method, group=f"{attributes.name}, {group}", unit="occupation")


def main(argv: Sequence[str] | None = None) -> list[dict]:
    arguments = parse(Arguments, argv, prog="eval_winobias.py")
    evaluation = arguments.evaluation
    if not evaluation.judge:
        clip = clip_of(evaluation.generation.base.pretrained_model_name_or_path, VIT_B32)
        evaluation = replace(evaluation, judge=[f"scorers:clip?model={quote(clip)}"])
    sets = [as_asked(attribute_set(name, arguments.attributes)) for name in dict.fromkeys(arguments.type)]
    if not sets:
        raise UserError("--type needs an attribute set, e.g. gender")
    occupations = read_occupations(arguments.occupations)
    value, value_images = arguments.value or common_value(sets), half(evaluation.generation.images_per_prompt)
    plans = [
        Plan(f"winobias_{name}", name, prompts_of(occupations, templates), value, value_images)
        for name, templates in TEMPLATES.items()
    ]
    measures = [
        Measure(
            attributes.questions,
            results=partial(occupation_results, attributes),
            figures=partial(winobias_figures, attributes),
            name=attributes.name,
        )
        for attributes in sets
    ]
    return evaluate(evaluation, matched_plans(plans, evaluation.pictures) or plans, measures)


if __name__ == "__main__":
    run(main)
