"""Who may import whom, module names that would shadow others, and that everything imports."""

import ast
import importlib
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
SHARED = {"diffusion_base", "scorers", "preference_data", "evaluation", "miniature"}
METHODS = set(PACKAGES) - SHARED
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# scripts and tests may import anything; a method or the evaluation reaches other methods through interventions alone
ALLOWED = {
    "diffusion_base": set(),
    "scorers": {"diffusion_base"},
    "preference_data": {"diffusion_base", "scorers"},
    "evaluation": {"diffusion_base", "scorers", "preference_data"},
    "miniature": {"diffusion_base", "scorers"},
    **{method: {"diffusion_base", "scorers", "preference_data"} for method in METHODS},
}


def imported_packages(source: str) -> set[str]:
    """The top-level packages that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_packages_import_downwards_only():
    wrong = [
        f"{module} imports {other}"
        for module in MODULES
        for other in imported_packages((ROOT / module).read_text(encoding="utf-8")) & set(PACKAGES)
        if other not in ALLOWED[module.parts[0]] | {module.parts[0]}
    ]
    assert not wrong


def test_imports_are_found_wherever_they_stand():
    source = "import a.b\ndef f():\n    from c.d import e\n    from . import g\n"
    assert imported_packages(source) == {"a", "c"}


def test_no_module_bears_the_name_of_another_library():
    """A script's folder is the first place Python searches: `datasets.py` there would stand in for the library."""
    requirements = importlib.metadata.requires("t2i-align")
    distributions = {re.match(r"[\w.-]+", requirement).group().lower() for requirement in requirements}
    distributions.discard("t2i-align")  # its extra `dev` names its extra `eval`
    libraries = {
        name
        for name, owners in importlib.metadata.packages_distributions().items()
        if distributions & {owner.lower() for owner in owners}
    }
    taken = sys.stdlib_module_names | libraries | {name.replace("-", "_") for name in distributions}
    names = {module.stem for module in MODULES} | set(PACKAGES)
    assert not (names - {"__init__", "__main__"}) & taken


@pytest.mark.parametrize("module", [".".join(module.with_suffix("").parts) for module in MODULES])
def test_everything_imports(module):
    importlib.import_module(module.removesuffix(".__init__"))


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_light(package):
    """Naming a method must not load torch; its heavy modules are imported when they are used."""
    code = f"import sys, {package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
