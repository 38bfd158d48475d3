"""Command lines from dataclasses: flat flags, each field's docstring its help, and presets from a YAML file.

`--flag_name` and `--flag-name` are the same; booleans are bare (`--random_flip`, `--no-random_flip`); the fields of
nested dataclasses are flags like any other. `--config preset.yaml` sets flags by name; the command line wins over it.

What a number may be is said in its field's annotation (`batch_size: Count = 8`) and checked by `parse`.
"""

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import tyro
from annotated_types import Ge, Gt, Le, Lt
from pydantic import TypeAdapter

from diffusion_base.errors import UserError
from diffusion_base.presets import field_types, take_config, with_preset

if TYPE_CHECKING:
    import torch

    from diffusion_base.pipeline import Pipeline

Arguments = TypeVar("Arguments")
INFINITE = "may be infinite"  # in a field's annotation; all other numbers must be finite
MAY_CHANGE = "may change when a run is continued"  # in a field's annotation; all other fields must stay

Count = Annotated[int, Ge(1)]
WholeNumber = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
STRONGEST = 100  # whatever strength or weight: far beyond it pictures are one colour
Strength = Annotated[float, Ge(-STRONGEST), Le(STRONGEST)]
Guidance = Annotated[float, Ge(0), Le(1000)]  # of classifier-free guidance; far beyond it latents overflow


@dataclasses.dataclass
class BaseArguments:
    """The model that everything starts from."""

    pretrained_model_name_or_path: Annotated[str, MAY_CHANGE] = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    """Stable Diffusion 1.x, 2.x, XL or 3.x: a diffusers folder, or a name on the hub."""
    revision: Annotated[str | None, MAY_CHANGE] = None
    """Revision of the model on the hub: a branch, a tag or a commit."""
    variant: Annotated[str | None, MAY_CHANGE] = None
    """Variant of the weight files, e.g. fp16."""
    cache_dir: Annotated[str | None, MAY_CHANGE] = None
    """Where downloaded weights are kept; by default where the hub keeps them."""

    def load(self, device: "str | torch.device | None" = None) -> "Pipeline":
        """The base, frozen and in float32; see `load_pipeline`."""
        from diffusion_base.pipeline import load_pipeline  # torch, only once it is needed

        return load_pipeline(
            self.pretrained_model_name_or_path,
            device=device,
            revision=self.revision,
            variant=self.variant,
            cache_dir=self.cache_dir,
        )


@dataclasses.dataclass(kw_only=True)
class SamplingArguments:
    """How pictures are made."""

    num_inference_steps: Count = 25
    """Steps of DPM-Solver++, or of SD 3.x's own scheduler."""
    guidance_scale: Guidance = 7.5
    """Of classifier-free guidance."""
    batch_size: Count = 8
    """Pictures made together."""
    mixed_precision: Literal["no", "bf16"] = "no"
    """bf16 runs the base under autocast: faster on some machines, no longer exact."""

    def __post_init__(self) -> None:
        check_ranges(self)

    def options(self) -> dict[str, Any]:
        """As `generate` and `generate_set` take them."""
        return vars(self).copy()


def parse(
    cls: type[Arguments], argv: Sequence[str] | None = None, *, prog: str | None = None, description: str | None = None
) -> Arguments:
    """Read a command line into a dataclass.

    Args:
        cls: the dataclass; fields without a default are required, `__post_init__` checks across fields (ValueError).
        argv: the command line without the program's name; None takes `sys.argv`.
        prog, description: what `--help` says the program is.

    Raises:
        UserError: the preset cannot be read, has an unknown key or a value of the wrong type; or a number is out of
            its range.
        SystemExit: with code 2 and a message for bad flags, with code 0 after `--help`.
    """
    file, given = take_config(sys.argv[1:] if argv is None else argv)
    hint = "\n\nA YAML preset of these options: --config FILE" if field_types(cls) else ""
    arguments = tyro.cli(
        cls,
        args=given,
        prog=prog,
        description=f"{description or cls.__doc__}{hint}",
        default=with_preset(cls, file, given) if file else tyro.MISSING_NONPROP,
        config=(tyro.conf.OmitArgPrefixes,),
        use_underscores=True,
    )
    check_ranges(arguments)
    return arguments


def check_ranges(arguments: Any) -> None:
    """Check the numbers of a dataclass, and of those in it, against what their annotations say.

    `parse` does so of itself; a class that is also made in code calls it in its `__post_init__`.

    Raises:
        UserError: a number out of its range, or one that is not finite.
    """
    for name, kind in get_type_hints(type(arguments), include_extras=True).items():
        value, rules = getattr(arguments, name), _rules(kind)
        if dataclasses.is_dataclass(value):
            check_ranges(value)
        for number in value if isinstance(value, list | tuple) else (value,):
            if not isinstance(number, int | float):
                continue
            if math.isnan(number) or (math.isinf(number) and INFINITE not in rules):
                raise UserError(f"--{name} {number}: it must be a finite number")
            for rule in rules:
                if wrong := _broken(rule, number):
                    raise UserError(f"--{name} {number}: it must be {wrong}")


def _rules(kind: Any) -> list[Any]:
    """What an annotation says of its numbers, also where they are optional or in a list."""
    own = list(getattr(kind, "__metadata__", ()))
    return own + [rule for part in get_args(kind) for rule in _rules(part)]


def _broken(rule: Any, number: float) -> str | None:
    """What the number should be and is not."""
    match rule:
        case Gt(gt=bound) if not number > bound:
            return f"more than {bound}"
        case Ge(ge=bound) if not number >= bound:
            return "a number that is not negative" if bound == 0 else f"{bound} or more"
        case Lt(lt=bound) if not number < bound:
            return f"less than {bound}"
        case Le(le=bound) if not number <= bound:
            return f"{bound} or less"
    return None


def to_dict(arguments: Any) -> dict[str, Any]:
    """The resolved arguments as flat JSON, to be saved with a run; it can serve as a preset again."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name)
        flat |= to_dict(value) if dataclasses.is_dataclass(value) else {field.name: _as_json(value)}
    return flat


def fixed_fields(arguments: Any) -> dict[str, Any]:
    """The names in `to_dict` that must stay what they are when a run is continued: those not marked `MAY_CHANGE`.

    Returns:
        The default of each, None where it has none: what it was in a run that began before the field was there.
    """
    fixed: dict[str, Any] = {}
    kinds = [get_type_hints(cls, include_extras=True) for cls in type(arguments).__mro__]
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name)
        if dataclasses.is_dataclass(value):
            fixed |= fixed_fields(value)
        # a class that gives an inherited field another default need not repeat the mark
        elif not any(MAY_CHANGE in _rules(kind[field.name]) for kind in kinds if field.name in kind):
            fixed[field.name] = None if field.default is dataclasses.MISSING else _as_json(field.default)
    return fixed


def _as_json(value: Any) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json")
