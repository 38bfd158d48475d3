"""Which pictures a collection holds: classes of prompts, from flags or from a YAML file.

classes:
  male: a male                           # words for {class}, one or a list; without templates they are the prompt
  female: a female
templates: ["a photo of {class} {subject}"]
subjects: [pilot, nurse]                 # so that a direction is learned over many of them
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from diffusion_base.combinations import NAME
from diffusion_base.errors import UserError

EXAMPLE = "classes: {male: a photo of a man, female: a photo of a woman}"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    classes: dict[str, str | list[str]]
    templates: list[str] = ["{class}"]
    subjects: list[str] = []


@dataclass(frozen=True)
class Class:
    """One class: its name, and its prompts with the subject of each ("" where there are none)."""

    name: str
    prompts: tuple[tuple[str, str], ...]


def read_classes(file: Path) -> list[Class]:
    """The classes of a YAML file.

    Raises:
        UserError: no such file, not of the form above, or a class that is no word or has no prompt.
    """
    try:
        content = _File.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"--classes {file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--classes {file} is not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = " / ".join(map(str, first["loc"]))
        raise UserError(f"--classes {file}{where and f', {where}'}: {first['msg']}; for example {EXAMPLE}") from None
    for key, given in (("{class}", True), ("{subject}", bool(content.subjects))):
        if wrong := next((template for template in content.templates if (key in template) != given), None):
            need = "must hold" if given else "needs subjects for"
            raise UserError(f"--classes {file}: the template {wrong!r} {need} {key}")
    classes = []
    for name, words in content.classes.items():
        prompts = tuple(
            (template.replace("{class}", word).replace("{subject}", subject), subject)
            for template in content.templates
            for subject in content.subjects or [""]
            for word in ([words] if isinstance(words, str) else words)
        )
        classes.append(Class(name, prompts))
    return checked(classes, f"--classes {file}")


def prompt_classes(texts: Sequence[str]) -> list[Class]:
    """The classes of flags `name=prompt`.

    Raises:
        UserError: one of another form.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, prompt = text.partition("=")
        if not equals:
            raise UserError(f"--prompts {text!r}: a class and its prompt are expected, e.g. 'male=a photo of a man'")
        found.setdefault(name.strip(), []).append(prompt.strip())
    return checked(
        [Class(name, tuple((prompt, "") for prompt in prompts)) for name, prompts in found.items()], "--prompts"
    )


def checked(classes: list[Class], where: str) -> list[Class]:
    if not classes:
        raise UserError(f"{where}: there are no classes; for example {EXAMPLE}")
    for one in classes:
        if not re.fullmatch(NAME, one.name):
            raise UserError(f"{where}: the class {one.name!r} must be one word of letters, digits, _ and -")
        if not one.prompts or not all(prompt.strip() for prompt, _ in one.prompts):
            raise UserError(f"{where}: the class {one.name!r} has an empty prompt")
    return classes
