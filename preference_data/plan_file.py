"""A plan's YAML file, read and checked; README.md beside this explains it, plans/ holds examples."""

import re
from collections.abc import Iterable
from pathlib import Path

import yaml
from pydantic import ValidationError

from diffusion_base.errors import UserError
from preference_data.plan import GAP, Bias, Plan, Scene, fill
from preference_data.schema import NOT_APPLICABLE

NAME = r"[A-Za-z0-9][\w-]*"


def read_plan(file: Path, scale: float = 1.0) -> tuple[Plan, list[Scene]]:
    """A plan and its scenes, category by category.

    Args:
        scale: share of every scene's pictures to make, one a side at least.

    Raises:
        UserError: no such file, not YAML, an unknown key, a value of the wrong type, or names that don't fit together;
            names file and key.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise UserError(f"--plan {file} must hold templates, values and categories; see preference_data/README.md")
        plan = Plan.model_validate(content)
    except OSError as error:
        raise UserError(f"--plan {file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--plan {file} is not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        problem = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        raise UserError(f"{_place(file, *first['loc'])}: {problem}") from None
    _check(plan, file)
    scenes: dict[str, Scene] = {}
    for name, category in plan.categories.items():
        templates = tuple(category.templates or plan.templates)
        count = max(1, round(scale * (category.images_per_side or plan.images_per_side)))
        for value in category.values:
            for subject in _combinations(category.subjects, plan.words):
                scene = Scene(name, subject, value, plan.values[value], templates, count)
                if scene.name in scenes:
                    where = _place(file, "categories", name)
                    raise UserError(f"{where}: {subject!r} and {scenes[scene.name].subject!r} are both {scene.name}")
                scenes[scene.name] = scene
    return plan, list(scenes.values())


def _combinations(subjects: Iterable[str], words: dict[str, list[str]]) -> Iterable[str]:
    for subject in subjects:
        gap = GAP.search(subject)
        if gap is None:
            yield subject
        else:
            one_word = (subject[: gap.start()] + fill(gap[0], **{gap[2]: word}) for word in words[gap[2]])
            yield from _combinations((text + subject[gap.end() :] for text in one_word), words)


def _check(plan: Plan, file: Path) -> None:
    """What the types cannot say."""
    for kind, names in (("categories", plan.categories), ("values", plan.values), ("words", plan.words)):
        for name in names:
            allowed, letters = (r"\w+", "") if kind == "words" else (NAME, ", -")
            if not re.fullmatch(allowed, name):
                raise UserError(f"{_place(file, kind, name)}: a name is made of letters, digits{letters} and _")
    _check_gaps(plan.templates, {"subject"}, file, "templates")
    for text in plan.templates:
        if "{subject}" not in text:
            raise UserError(f"{_place(file, 'templates')}: {text!r} must hold {{subject}}")
    for name, category in plan.categories.items():
        where = ("categories", name)
        _check_gaps(category.subjects, set(plan.words), file, *where, "subjects")
        _check_gaps(category.templates or (), {"subject"}, file, *where, "templates")
        for text in category.templates or ():
            if "{subject}" not in text:
                raise UserError(f"{_place(file, *where, 'templates')}: {text!r} must hold {{subject}}")
        if unknown := next((value for value in category.values if value not in plan.values), None):
            raise UserError(
                f"{_place(file, *where, 'values')}: there is no value {unknown!r}; there are {', '.join(plan.values)}"
            )
    for name, value in plan.values.items():
        for side, wording in value.sides.items():
            where = ("values", name, *(("groups",) if isinstance(value, Bias) else ()), side)
            _check_gaps([wording.subject], {"subject"}, file, *where, "subject")
            _check_gaps([wording.prompt], {"prompt"}, file, *where, "prompt")
        if isinstance(value, Bias):
            for gap in re.findall(r"\{(.*?)\}", value.question):
                if gap != "choice" and gap.count("|") + 1 != len(value.groups):
                    place = _place(file, "values", name, "question")
                    groups = f"the {len(value.groups)} groups, {{one|other}}"
                    raise UserError(f"{place}: {{{gap}}} is neither {{choice}} nor a word for each of {groups}")
        if value.statement.strip().lower() in NOT_APPLICABLE:
            raise UserError(f"{_place(file, 'values', name, 'statement')}: {value.statement!r} stands for no value")
        made = list(value.sides.values())
        if any(wording in made[:i] for i, wording in enumerate(made)):
            raise UserError(f"{_place(file, 'values', name)}: two of {', '.join(value.sides)} are asked for alike")


def _check_gaps(texts: Iterable[str], known: set[str], file: Path, *where: str) -> None:
    for text in texts:
        if re.search("[{}]", GAP.sub("", text)):
            raise UserError(f"{_place(file, *where)}: {text!r} has a brace that belongs to no {{word}}")
        for gap in GAP.finditer(text):
            if gap[2] not in known:
                there = ", ".join(f"{{{name}}}" for name in sorted(known)) or "no word lists"
                raise UserError(f"{_place(file, *where)}: {text!r} names {{{gap[2]}}}; there is {there}")


def _place(file: Path, *keys: str | int) -> str:
    return f"{file}, {' / '.join(map(str, keys))}" if keys else str(file)
