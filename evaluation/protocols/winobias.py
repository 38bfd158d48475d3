"""The WinoBias protocol: occupations in five prompts each, plain and "successful", counted together.

Source: Li et al., "Self-Discovering Interpretable Diffusion Latent Directions" (CVPR 2024), who took the occupations
from WinoBias (Zhao et al., NAACL 2018).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path

from diffusion_base.errors import UserError
from evaluation.figures.formulas import d1, deviation_ratio
from evaluation.figures.from_scores import attribute_counts, attribute_figures
from evaluation.figures.record import Figure, Subject
from evaluation.protocols.plans import Measure, Plan
from evaluation.scores.answers import grouped
from evaluation.scores.attributes import AttributeSet, answers

VIT_B32 = "openai/clip-vit-base-patch32"  # the paper's judge
OCCUPATIONS = Path(__file__).with_name("winobias.txt")
MEDIA = ("Image", "Picture", "Photo", "Headshot", "Portrait")
# the published prompts have an article before "successful" and none before an occupation
TEMPLATES = {
    "plain": [f"{medium} of {{}}" for medium in MEDIA],
    "successful": [f"{medium} of a successful {{}}" for medium in MEDIA],
}
# what CLIP picks from, for sets that do not say it themselves; the prompt's own words play no part
WORDINGS = {"gender": "a {man|woman}", "race": "a {choice}-race person", "skin": "a person with {choice}"}


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
    for pictures in grouped(answers(attributes, rows), itemgetter("occupation")):
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


def winobias_figures(attributes: AttributeSet, rows: Sequence[dict], *, method: str, subject: Subject) -> list[Figure]:
    """The figures of one attribute set, the occupation being the unit; `subject` is of the plain or successful set."""
    group = f"{attributes.name}, {subject.prompt_set}"
    about = replace(subject, group=group, attribute=attributes.name, topic=group)
    return attribute_figures(attributes, rows, method=method, subject=about, unit="occupation")


def winobias_plans(
    sets: Sequence[AttributeSet], occupations: Sequence[str], value: str | None, value_images: int | None
) -> list[Plan]:
    """The plain and the successful set, with each attribute set's question in the words that CLIP picks from."""
    measures = [
        Measure(
            attributes.questions,
            figures=partial(winobias_figures, attributes),
            results=partial(occupation_results, attributes),
            name=attributes.name,
        )
        for attributes in map(as_asked, sets)
    ]
    return [
        Plan(
            Subject("winobias", f"winobias_{name}", name, prompt_set=name),
            measures,
            prompts_of(occupations, templates),
            value,
            value_images,
        )
        for name, templates in TEMPLATES.items()
    ]
