"""A weight a subject, which the sweep finds: JSON {"default": 6.0, "weights": {"pilot": 8.5, "nurse": -3.0}}."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffusion_base.errors import UserError
from diffusion_base.files import write_json

EXAMPLE = '{"default": 6, "weights": {"pilot": 8.5}}'


@dataclass(frozen=True)
class Weights:
    """A weight for every prompt.

    Attributes:
        default: of prompts that name none of the subjects.
        by_subject: a prompt that names several takes the longest's.

    Raises:
        UserError: a weight that is not finite.
    """

    default: float
    by_subject: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, weight in {"default": self.default, **self.by_subject}.items():
            if not math.isfinite(weight):
                raise UserError(f"weight {weight} ({name}): it must be a finite number")

    def of(self, prompt: str) -> float:
        named = [
            subject
            for subject in self.by_subject
            if re.search(rf"\b{re.escape(subject)}\b", prompt, flags=re.IGNORECASE)
        ]
        return self.by_subject[max(named, key=len)] if named else self.default

    def save(self, file: Path) -> None:
        write_json(file, {"default": self.default, "weights": dict(self.by_subject)})


def read_weights(file: str | Path) -> Weights:
    """A table of weights.

    Raises:
        UserError: no such file, one of another form, or a weight that is not finite.
    """
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
        table = {str(name): float(weight) for name, weight in content["weights"].items()}
        default = float(content["default"])
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file} is no table of weights; {EXAMPLE} is expected") from None
    return Weights(default, table)
