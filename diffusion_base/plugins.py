"""What a command line names as `package:path?option=value`: a method's intervention, a judge."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ConfigDict, TypeAdapter, ValidationError

from diffusion_base.errors import UserError


def resolve(spec: str, function: str, reserved: tuple[str, ...] = ()) -> tuple[Callable, str, dict]:
    """Take `package:path?option=value&…` apart.

    Args:
        spec: as above.
        function: what the package must offer, e.g. "load_intervention".
        reserved: the function's parameters that are not options.

    Returns:
        The function, the path, and the options converted to the types of the function's annotations; as text for a
        function that takes `**options`.
    """
    location, _, query = spec.partition("?")
    package, _, path = location.partition(":")
    if not _is_there(package):
        raise UserError(
            f"{spec!r}: there is no package {package!r}, neither installed nor as a folder here or beside evaluation/; "
            "the form is package:path?option=value"
        )
    module = importlib.import_module(package)
    if not hasattr(module, function):
        raise UserError(f"{spec!r}: the package {package!r} has no {function}")
    load = getattr(module, function)
    given = dict(parse_qsl(query, keep_blank_values=True))
    parameters = inspect.signature(load).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return load, path, given  # what options there are depends on the path: the function looks at them itself
    first, *_ = parameters  # the path
    return load, path, typed_options(load, given, spec, reserved=(first, *reserved))


def _is_there(package: str) -> bool:
    """Whether a package can be imported. One in the current folder or beside evaluation/ is made so: Python searches
    what was installed and a script's own folder alone, and a method may be younger than the installation."""
    if _is_found(package):
        return True
    top = package.partition(".")[0]
    for place in (Path.cwd(), Path(__file__).parents[1]) if top else ():
        if (place / top / "__init__.py").is_file() or (place / f"{top}.py").is_file():
            sys.path.append(str(place))
            importlib.invalidate_caches()
            return _is_found(package)
    return False


def _is_found(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError as error:
        if not package.startswith(error.name or package):  # a parent's own import failed
            raise
        return False
    except ValueError:  # no name at all
        return False


def typed_options(load: Callable, given: Mapping[str, str], spec: str, reserved: Sequence[str] = ()) -> dict[str, Any]:
    """The options of a spec, converted to the types of the function's annotations.

    Args:
        load: takes them as keyword arguments.
        given: option → text.
        spec: what the errors name.
        reserved: the function's parameters that are not options.

    Raises:
        UserError: an option is unknown, missing or of the wrong type.
    """
    parameters = {n: p for n, p in inspect.signature(load).parameters.items() if n not in reserved}
    options = {}
    for name, text in given.items():
        if name not in parameters:
            known = ", ".join(parameters) or "none"
            raise UserError(f"{spec!r} has no option {name!r} (options: {known})")
        try:
            kind = TypeAdapter(parameters[name].annotation, config=ConfigDict(allow_inf_nan=False))
            options[name] = kind.validate_python(text)
        except ValidationError as error:
            raise UserError(f"{spec!r}: option {name!r}: {error.errors()[0]['msg']}") from None
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            raise UserError(f"{spec!r} needs the option {name!r}")
    return options
