from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "main.ipynb"
TINY = 'RECIPE, AUTOENCODER_EPOCHS, DENOISER_STEPS, TRAINING_IMAGES, SAMPLES = "{}", 1, 2, 1_000, 4'


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.mark.parametrize("recipe", ["mnist-fast", "mnist"])
def test_the_notebook_runs_from_top_to_bottom_at_a_tiny_size(notebook, recipe):
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = TINY.format(recipe)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert len(pictures) == 12


def test_it_is_committed_with_the_outputs_of_a_whole_run_in_order(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
