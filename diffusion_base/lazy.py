"""Names that a package offers at its root without loading what they stand for until somebody asks (PEP 562)."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy(package: str, modules: dict[str, tuple[str, ...]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__`.

    The same names stand in its `if TYPE_CHECKING:`, for editors and type checkers; tests/test_imports.py compares them.

    Args:
        package: its `__name__`.
        modules: module → the names that the root offers of it.
    """
    origin = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in origin:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(origin[name])
        # a module of that very name takes the name's place whenever somebody imports it: it must be callable itself
        found = module if module.__name__ == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, found)  # the next time nobody asks here
        return found

    return get, lambda: sorted({*vars(sys.modules[package]), *origin})
