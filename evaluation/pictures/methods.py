"""The methods that a command line names, reached as interventions and by nothing else."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusion_base.errors import UserError
from diffusion_base.intervention import Intervention, load_intervention
from diffusion_base.pipeline import Pipeline
from diffusion_base.plugins import resolve

BASE = ("base", "sd-1-5")
METHODS = (*BASE, "livo")
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Method:
    """What is done to the base, and what the figures call it.

    Attributes:
        name: in figures and tables.
        specs: its interventions, `package:path?option=value` each, in their order; none is the base.
        names_value: whether one of them has the option `value`, which then takes the place of a protocol's value.
    """

    name: str
    specs: tuple[str, ...] = ()
    names_value: bool = False

    def load(self, pipeline: Pipeline) -> list[Intervention]:
        """The interventions on this base; a value that they do not name comes with each picture's record."""
        return [load_intervention(spec, pipeline) for spec in self.specs]


def method_of(name: str | None = None, specs: Sequence[str] = (), livo_model: str | None = None) -> Method:
    """The method of a command line; what cannot work is refused before anything heavy is loaded.

    Args:
        name: --method. None is "base" without interventions, else their packages: "value_encoder + concept_vectors".
        specs: --intervention, each time.
        livo_model: --livo_model, short for --intervention "value_encoder:PATH": a value encoder's folder, or a run's or
            checkpoint's that holds `value_encoder/`, or a hub name.

    Raises:
        UserError: a name that stands for nothing, a package or option that is not there, or no such path.
    """
    if livo_model is not None:
        _check_path(livo_model, f"--livo_model {livo_model}: there is no such folder")
        specs = (f"value_encoder:{livo_model}", *specs)
    if not specs and name == "livo":
        raise UserError(
            "--method livo needs --livo_model: a value encoder's folder, or that of the run that trained it"
        )
    if not specs and name not in (None, *BASE):
        raise UserError(
            f"--method {name}: there is no such method; there are {', '.join(METHODS)}, "
            "and any name for what --intervention names"
        )
    if specs and name in BASE:
        raise UserError(f"--method {name} is the model without interventions; take another name, or leave it out")
    packages: list[str] = []
    options: set[str] = set()
    for spec in specs:
        _, path, given = resolve(spec, "load_intervention", reserved=("pipeline",))
        _check_path(path, f"--intervention {spec!r}: there is no {path}")
        packages.append(spec.partition(":")[0])
        options |= given.keys()
    return Method(name or " + ".join(packages) or "base", tuple(specs), "value" in options)


def _check_path(path: str, message: str) -> None:
    if path and not Path(path).exists() and not HUB_NAME.fullmatch(path):  # owner/name may be on the hub
        raise UserError(message)
