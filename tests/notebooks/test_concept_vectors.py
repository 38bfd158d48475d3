"""The notebook runs from its first cell to its last on a budget of two steps."""

import base64
import io
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "concept_vectors.ipynb"
GRIDS = [(11, 5), (6, 3), (5, 3), (12, 2), (12, 3), (4, 3)]  # columns and rows of pictures


def grids(notebook) -> list[tuple[int, int]]:
    """Columns and rows of the grids of pictures that a notebook shows."""
    shown = [output.data["image/png"] for cell in code(notebook) for output in cell.outputs if "data" in output]
    sizes = [Image.open(io.BytesIO(base64.b64decode(picture))).size for picture in shown]
    return [(width // 64, height // 64) for width, height in sizes]


def code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text(notebook) -> str:
    return "".join(output.text for cell in code(notebook) for output in cell.outputs if output.output_type == "stream")


@pytest.mark.slow
def test_every_cell_runs(tmp_path, monkeypatch):
    """It learns vectors where there are none."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cheap = {
        'runs = root / "runs"': f"import pathlib; runs = pathlib.Path({str(tmp_path)!r})",
        "SAMPLING_STEPS, COUNTED = 25, 48": "SAMPLING_STEPS, COUNTED = 2, 6",
        "--num_inference_steps 25 --batch_size 24 --num_samples 32": "--num_inference_steps 2 --num_samples 1",
        "--num_images_per_val_prompt 0": "--num_images_per_val_prompt 0 --max_train_steps 2 --train_batch_size 4",
    }
    for dear, budget in cheap.items():
        (cell,) = [cell for cell in notebook.cells if dear in cell.source]
        cell.source = cell.source.replace(dear, budget)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert (tmp_path / "notebook" / "training" / "concept_vectors.safetensors").is_file()
    assert grids(notebook) == GRIDS
    assert "anti_zombie" in text(notebook) and text(notebook).count("mechanic, ") == 3


def test_it_is_committed_as_it_ran():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    assert grids(notebook) == GRIDS and "dancer, dealt: male" in text(notebook)
    assert NOTEBOOK.stat().st_size < 2_000_000
