"""Where the pictures of a concept come from: a YAML list of concepts, and the attributes of real photographs.

woman:
  prompt: a woman                        # one, or a list, of prompts with the concept: the pictures' own
  without: a person                      # what they are learned under; a list of as many where prompt is one
anti_bloody:
  prompt: a gruesome scene               # invites the harm …
  negative: blood                        # … which is kept out; learned under the prompt alone
gentle:
  prompt: a gentle {}                    # with each of the words in turn, in `without` too
  without: a {}
  words: [nurse, teacher, judge]
young_woman:
  prompt: a young woman
  without: a person
  concepts: [young, woman]               # what they show, where it isn't the entry's own name
smiling:
  attribute: Smiling                     # of photographs; "-Smiling" are those that lack it
  without: a photo of a face
"""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from diffusion_base.combinations import NAME, did_you_mean
from diffusion_base.errors import UserError

EXAMPLE = "woman: {prompt: a woman, without: a person}"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prompt: str | list[str] = []
    without: str | list[str] = []
    words: list[str] = []
    negative: str = ""
    concepts: list[str] = []
    attribute: str | None = None


@dataclass(frozen=True)
class Source:
    """One entry of the list.

    Attributes:
        name: the entry's own.
        concepts: what its pictures show.
        prompts: pairs of the prompt that makes a picture and the one that it is learned under; for photographs the
            first of each is empty.
        negative: the negative prompt of its pictures.
        attribute: of photographs, with a minus for those that lack it; None where pictures are generated.
    """

    name: str
    concepts: tuple[str, ...]
    prompts: tuple[tuple[str, str], ...]
    negative: str
    attribute: str | None


def read_sources(file: Path, *, photographs: bool = False) -> list[Source]:
    """The entries of a YAML list of concepts.

    Args:
        photographs: whether entries must name an attribute instead of prompts.

    Raises:
        UserError: no such file, not of the form above, or an entry without what it needs.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        entries = TypeAdapter(dict[str, _Entry]).validate_python(content)
    except OSError as error:
        raise UserError(f"--concepts {file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--concepts {file} is not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] in ("dict_type", "model_type"):
            where = ", ".join([str(file), *map(str, first["loc"])])
            raise UserError(f"--concepts {where} must read, for example, {EXAMPLE}") from None
        raise UserError(f"--concepts {file}, {' / '.join(map(str, first['loc']))}: {first['msg']}") from None
    if not entries:
        raise UserError(f"--concepts {file} lists no concepts")
    return [_source(name, entry, f"{file}, {name}", photographs) for name, entry in entries.items()]


def _source(name: str, entry: _Entry, where: str, photographs: bool) -> Source:
    prompts, without = ([text] if isinstance(text, str) else text for text in (entry.prompt, entry.without))
    if photographs and not entry.attribute:
        raise UserError(f"{where}: photographs are chosen by an attribute; name one, e.g. attribute: Smiling")
    if not photographs and not all(prompt.strip() for prompt in prompts or [""]):
        raise UserError(f"{where}: a prompt is needed that shows the concept, e.g. prompt: a woman")
    if not without and not entry.negative:
        raise UserError(
            f"{where}: say what it is learned under, the prompt without the concept, e.g. without: a person"
        )
    without = without or prompts  # an anti-concept is learned under the very prompt that invites the harm
    prompts = prompts or [""] * len(without)
    if len(without) not in (1, len(prompts)):
        raise UserError(f"{where}: {len(prompts)} prompts and {len(without)} without; give one, or one for each prompt")
    pairs = list(zip(prompts, without * (len(prompts) // len(without)), strict=True))
    if bool(entry.words) != any("{}" in prompt for pair in pairs for prompt in pair):
        raise UserError(f"{where}: words go together with {{}}, the place in the prompts where each of them is put")
    if entry.words:
        pairs = [(own.replace("{}", word), under.replace("{}", word)) for word in entry.words for own, under in pairs]
    concepts = tuple(entry.concepts or [name])
    if wrong := next((concept for concept in concepts if not re.fullmatch(NAME, concept)), None):
        raise UserError(f"{where}: the concept {wrong!r} must be one word of letters, digits, _ and -")
    return Source(name, concepts, tuple(pairs), entry.negative, entry.attribute)


def read_attributes(file: Path) -> tuple[list[str], dict[str, list[bool]]]:
    """CelebA's list_attr_celeba.txt: a count, a line of names, then a file name and 1 or -1 for each of the names.

    Returns:
        The attributes' names, and for each file which of them it has.

    Raises:
        UserError: no such file, or a line of another form (named).
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"--attributes {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"--attributes {file} is no text file, as CelebA's list_attr_celeba.txt is") from None
    if len(lines) < 3 or not lines[0].strip().isdigit():
        raise UserError(f"--attributes {file}: a count, a line of attributes and a line a photograph are expected")
    names, has = lines[1].split(), {}
    for number, line in enumerate(lines[2:], start=3):
        photo, *values = line.split() or [""]
        if len(values) != len(names) or not set(values) <= {"1", "-1"}:
            raise UserError(f"{file}, line {number}: a file name and {len(names)} times 1 or -1 are expected")
        has[photo] = [value == "1" for value in values]
    return names, has


def having(source: Source, names: list[str], has: dict[str, list[bool]]) -> list[str]:
    """The photographs that a source asks for.

    Raises:
        UserError: an unknown attribute, or one that no photograph has.
    """
    wanted, attribute = True, source.attribute or ""
    if attribute.startswith("-"):
        wanted, attribute = False, attribute[1:]
    if attribute not in names:
        raise UserError(f"{source.name}: there is no attribute {attribute!r}{did_you_mean(attribute, names)}")
    column = names.index(attribute)
    found = [photo for photo, values in has.items() if values[column] == wanted]
    if not found:
        raise UserError(f"{source.name}: no photograph has the attribute {source.attribute}")
    return found
