"""Where a specification's package is looked for."""

import sys

import pytest

from diffusion_base import plugins
from diffusion_base.errors import UserError
from diffusion_base.plugins import resolve

METHOD = "def load_intervention(path, *, pipeline, strength: float = 1.0): return path, strength\n"


@pytest.fixture(autouse=True)
def undone(monkeypatch):
    """What Python searches, and has loaded, is as before afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("young_"):
            del sys.modules[name]


def loaded(spec: str):
    load, path, options = resolve(spec, "load_intervention", reserved=("pipeline",))
    return load(path, pipeline=None, **options)


@pytest.mark.parametrize("name", ["young_method/__init__.py", "young_method.py"])
def test_in_the_current_folder(tmp_path, monkeypatch, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(METHOD)
    monkeypatch.chdir(tmp_path)
    assert loaded("young_method:here?strength=0.5") == ("here", 0.5)


def test_beside_the_evaluation(tmp_path, monkeypatch):
    (tmp_path / "young_method" / "inner").mkdir(parents=True)
    (tmp_path / "young_method" / "__init__.py").touch()
    (tmp_path / "young_method" / "inner" / "__init__.py").write_text(METHOD)
    monkeypatch.setattr(plugins, "__file__", str(tmp_path / "diffusion_base" / "plugins.py"))
    assert loaded("young_method.inner:there") == ("there", 1.0)
    with pytest.raises(UserError, match="'young_method.outer:x': there is no package 'young_method.outer'"):
        loaded("young_method.outer:x")


def test_a_method_whose_own_import_fails_says_so(tmp_path, monkeypatch):
    """That is no misspelt name: the author needs to see where it happened."""
    (tmp_path / "young_method").mkdir()
    (tmp_path / "young_method" / "__init__.py").write_text("import young_library")
    monkeypatch.chdir(tmp_path)
    for spec in ("young_method:x", "young_method.inner:x"):
        with pytest.raises(ModuleNotFoundError, match="No module named 'young_library'"):
            loaded(spec)


def test_a_folder_that_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "young_method").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="neither installed nor as a folder here or beside evaluation/; the form is"):
        loaded("young_method:x")
