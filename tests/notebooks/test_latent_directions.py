"""The notebook runs from its first cell to its last on a budget of two steps."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "latent_directions.ipynb"


def code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(notebook) -> int:
    return sum("image/png" in output.get("data", {}) for cell in code(notebook) for output in cell.outputs)


def text(notebook) -> str:
    return "".join(output.text for cell in code(notebook) for output in cell.outputs if output.output_type == "stream")


@pytest.mark.slow
def test_every_cell_runs(tmp_path, monkeypatch):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cheap = {
        'runs = root / "runs" / "latent_notebook"': f"import pathlib; runs = pathlib.Path({str(tmp_path)!r})",
        "SAMPLING_STEPS, SAMPLES, SWEPT, LOOKED_AT = 25, 32, 4, 8": (
            "SAMPLING_STEPS, SAMPLES, SWEPT, LOOKED_AT = 2, 8, 2, 2"
        ),
        "steps=(3, 6)": "steps=(0, 1)",
        "range(-12, 13, 3)": "range(-12, 13, 12)",
    }
    for dear, budget in cheap.items():
        (cell,) = [cell for cell in notebook.cells if dear in cell.source]
        cell.source = cell.source.replace(dear, budget)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert pictures(notebook) == 4 and "held out by seed" in text(notebook) and "weight" in text(notebook)


def test_it_is_committed_as_it_ran():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    assert pictures(notebook) == 4 and "dealt: 4 male, 4 female" in text(notebook)
    assert NOTEBOOK.stat().st_size < 2_000_000
