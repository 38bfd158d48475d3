"""What an installation brings along: every package with its data, every library that something uses, and no other."""

import ast
import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest's own there

ROOT = Path(__file__).parents[1]
PACKAGES = [path.parent for path in sorted(ROOT.glob("*/__init__.py"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names_of(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


NEEDED = names_of(PROJECT["dependencies"])
EXTRAS = {extra: names_of(requirements) for extra, requirements in PROJECT["optional-dependencies"].items()}
DISTRIBUTIONS = NEEDED.union(*EXTRAS.values()) - {"t2i-align"}  # the extra `dev` names the extra `eval`
OWNERS = {
    module: {canonicalize_name(owner) for owner in owners}
    for module, owners in importlib.metadata.packages_distributions().items()
}

NOT_IMPORTED = {"tensorboard"}  # but used all the same, by accelerate's tracker


def libraries_used() -> set[str]:
    """The top-level modules that packages, scripts and benchmarks import, without Python's own and ours."""
    names = set()
    for folder in (*PACKAGES, ROOT / "scripts", ROOT / "benchmarks"):
        for file in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names.add(node.module.partition(".")[0])
    return {name for name in names - sys.stdlib_module_names if not (ROOT / name).is_dir()}


def test_what_is_imported_is_a_dependency_and_the_reverse():
    """So the README's commands find what they need after `setup`, without any extra; doctor says what the optional
    libraries add."""
    optional = set().union(*(EXTRAS[extra] for extra in EXTRAS if extra != "dev"))
    used = {name: OWNERS.get(name, {canonicalize_name(name)}) for name in libraries_used()}
    assert {name for name, those in used.items() if not those & (NEEDED | optional)} == set()
    assert NEEDED - set().union(*used.values()) <= NOT_IMPORTED
    assert "torchmetrics" in NEEDED and not NEEDED & optional


def test_a_wheel_holds_every_package_and_its_data(tmp_path):
    """A folder with an __init__.py is all that a new method is: no list names it."""
    for name in ("pyproject.toml", "README.md", "LICENSE", *(package.name for package in PACKAGES)):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "my_method" / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py", "inner/table.csv"):
        (tmp_path / "my_method" / name).touch()
    (tmp_path / "my_pictures").mkdir()
    build = "from setuptools import build_meta as b; b.build_wheel('out'); b.build_editable('editable')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    wheel, editable = (zipfile.ZipFile(*(tmp_path / folder).glob("*.whl")) for folder in ("out", "editable"))
    (path,) = [name for name in editable.namelist() if name.endswith(".pth")]
    assert editable.read(path).decode().strip() == str(tmp_path), "the folder itself, so whatever is added later"
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    packages = [path.parent for path in tmp_path.glob("*/__init__.py")]
    files = [file for package in packages for file in package.resolve().rglob("*") if file.is_file()]
    there = {str(file.relative_to(tmp_path if file.is_relative_to(tmp_path) else ROOT)) for file in files}
    there |= {f"value_encoder/plans/{plan.name}" for plan in (ROOT / "preference_data" / "plans").iterdir()}  # a link
    assert held == {name for name in there if "__pycache__" not in name}
