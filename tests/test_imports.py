"""Who may import whom, module names that would shadow others, and that everything imports."""

import ast
import importlib
import inspect
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.test_packaging import DISTRIBUTIONS, OWNERS

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
METHODS = set(PACKAGES) - {"diffusion_base", "scorers", "preference_data", "evaluation", "miniature"}
MODULES = {  # name → file
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}

# scripts and tests may import anything; a method or the evaluation reaches other methods through interventions alone
ALLOWED = {
    "diffusion_base": set(),
    "scorers": {"diffusion_base"},
    "preference_data": {"diffusion_base", "scorers"},
    "evaluation": {"diffusion_base", "scorers", "preference_data"},
    "miniature": {"diffusion_base", "scorers"},
    **{method: {"diffusion_base", "scorers", "preference_data"} for method in METHODS},
}


def imported(source: str) -> set[str]:
    """The modules that a source imports, wherever in it: of `from a import b` a.b too, which may be a module."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


IMPORTED = {name: imported(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def test_packages_import_downwards_only():
    wrong = [
        f"{module} imports {other}"
        for module, others in IMPORTED.items()
        for other in others & set(PACKAGES) | {other.partition(".")[0] for other in others} & set(PACKAGES)
        if other not in ALLOWED[module.partition(".")[0]] | {module.partition(".")[0]}
    ]
    assert not wrong


def test_imports_are_found_wherever_they_stand():
    source = "import a.b\ndef f():\n    from c.d import e\n    from . import g\n"
    assert imported(source) == {"a.b", "c.d", "c.d.e"}


def test_no_module_imports_in_a_circle():
    """Not even where an import waits in a function or is for type checkers alone. A package's root, which offers names
    of its modules, counts as imported where it is named itself."""
    graph = {}
    for module, others in IMPORTED.items():
        known = others & MODULES.keys() - {module}
        graph[module] = {name for name in known if not any(other.startswith(f"{name}.") for other in known)}
    assert list(TopologicalSorter(graph).static_order())  # else a CycleError that names the circle


def test_no_module_bears_the_name_of_another_library():
    """A script's folder is the first place Python searches: `datasets.py` there would stand in for the library."""
    libraries = {name for name, owners in OWNERS.items() if DISTRIBUTIONS & owners}
    taken = sys.stdlib_module_names | libraries | {name.replace("-", "_") for name in DISTRIBUTIONS}
    names = {part for module in MODULES for part in module.split(".")}
    assert not (names - {"__main__"}) & taken


@pytest.mark.parametrize("module", MODULES)
def test_everything_imports(module):
    importlib.import_module(module)


def typed_names(package: str) -> dict[str, str]:
    """The names of its own that a package's root shows to type checkers → the module of each."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    own = [node for node in imports if node.module.partition(".")[0] == package]
    return {alias.name: node.module for node in own for alias in node.names}


ROOTS = {package: names for package in PACKAGES if (names := typed_names(package))}


@pytest.mark.parametrize("package", ROOTS)
def test_roots_offer_what_they_show_to_type_checkers(package):
    root = importlib.import_module(package)
    assert root.__dir__() == sorted({*vars(root), *ROOTS[package]})
    for name, module in ROOTS[package].items():
        found = importlib.import_module(module)
        if module != f"{package}.{name}":
            assert getattr(root, name) is getattr(found, name)
        else:  # the name is the module's, whoever imports it: it is called like the function in it
            of_module, of_function = found, getattr(found, name)
            assert getattr(root, name) is of_module and type(of_module).__call__ is of_function
            assert inspect.signature(of_module) == inspect.signature(of_function)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = root.nothing


def test_the_names_that_notebooks_import():
    assert ROOTS["value_encoder"].keys() >= {"ValueToken"} and ROOTS["value_retriever"].keys() >= {"ValueRetriever"}
    assert ROOTS["concept_vectors"].keys() >= {"ConceptVector", "FairGroup"}
    assert ROOTS["diffusion_base"].keys() >= {"load_pipeline", "generate"}
    assert ROOTS["evaluation"].keys() >= {"evaluate", "compare"}


def test_packages_are_light():
    """Naming a package must not load torch, nor must the retriever; heavy modules are imported when they are used."""
    lines = [f"import {package}; assert 'torch' not in sys.modules, '{package}'" for package in PACKAGES]
    lines += ["from value_retriever import ValueRetriever; ValueRetriever(backend='rule').retrieve('a nurse')"]
    lines += ["import preference_data; [getattr(preference_data, name) for name in dir(preference_data)]"]
    code = "\n".join(["import sys", *lines, "assert 'torch' not in sys.modules, 'retriever or records'"])
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
