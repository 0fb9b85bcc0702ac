from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "main.ipynb"
TINY = "AUTOENCODER_STEPS, DENOISER_STEPS, ONE_CALL_STEPS, IMAGES = 3, 3, 2, 4"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom_at_a_tiny_size(notebook, tmp_path):
    (parameters,) = [cell for cell in notebook.cells
                     if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = TINY
    run = NotebookClient(notebook, timeout=300, kernel_name="python3",
                         resources={"metadata": {"path": tmp_path}})
    run.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 9
    (same,) = [output.text for output in outputs
               if output.get("text", "").startswith("largest difference")]
    assert float(same.split()[-1]) < 1e-5  # the loop in the notebook is the sampler of the package


def test_its_loops_are_short_and_its_outputs_have_no_progress_bars(notebook):
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    loops = [text for text in code if "for step, batch in zip" in text or "for t in reve" in text]
    assert len(loops) == 3
    assert max(len(loop.splitlines()) for loop in loops) <= 18
    assert not any(output.output_type == "stream" and "%|" in output.text for cell in notebook.cells
                   for output in cell.get("outputs", []))


def test_it_is_committed_with_the_outputs_of_a_whole_run_in_order(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
