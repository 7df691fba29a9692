"""The notebooks in ``examples/`` run from their cells on what ships, and are kept with small outputs of no machine.

python -m tests.test_notebooks          # run all from an empty folder, and keep their outputs
"""

import re
from itertools import pairwise
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra [test] has nbclient, which runs notebooks")

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
NOWHERE = "http://127.0.0.1:9"  # a proxy that nobody runs: what would be downloaded is not there
PLACES = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users|usr|var)/|[A-Z]:\\\\")
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
NEUTRAL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def execute(notebook, folder):
    """Run all cells in the folder; an exception in one of them is raised."""
    from nbclient import NotebookClient

    for cell in code(notebook):
        cell.outputs, cell.execution_count = [], None
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=resources).execute()


def kinds(cell):
    """What a cell puts out: text of the program, a value, a picture."""
    return {kind for output in cell.outputs for kind in output.get("data", {output.get("name"): ""})} - {"stderr"}


def test_there_are_the_three():
    assert [path.stem for path in NOTEBOOKS] == [
        "energies_of_an_attack", "robustbench_and_your_attack", "train_with_der",
    ]  # fmt: skip


@each_notebook
def test_it_runs_from_its_cells_and_puts_out_what_it_is_kept_with(path, monkeypatch, tmp_path):
    for name in ("ENERGYLENS_DATA", "ENERGYLENS_MODELS"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, NOWHERE)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    kept, notebook = read(path), read(path)
    execute(notebook, tmp_path)
    assert [kinds(cell) for cell in code(notebook)] == [kinds(cell) for cell in code(kept)]


@each_notebook
def test_it_is_kept_as_it_ran_and_small(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert path.stat().st_size < 300_000
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any("image/png" in kinds(cell) for cell in cells) and any("stdout" in kinds(cell) for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


@each_notebook
def test_it_tells_nothing_of_the_machine_that_it_ran_on(path):
    notebook = read(path)
    assert notebook.metadata == NEUTRAL
    assert not any(cell.metadata for cell in notebook.cells)
    texts = [str(output.get("text", output.get("data", {}).get("text/plain", ""))) for cell in code(notebook)
             for output in cell.outputs]  # fmt: skip
    assert texts and not [text for text in texts if PLACES.search(text)]


@each_notebook
def test_it_is_prose_with_code_between(path):
    """A heading first, then something to read before every few lines of code."""
    notebook = read(path)
    assert notebook.cells[0].source.startswith("# ")
    written = [cell.cell_type for cell in notebook.cells]
    assert ("code", "code") not in pairwise(written)
    assert max(len(line) for cell in code(notebook) for line in cell.source.splitlines()) <= 120


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    for path in NOTEBOOKS:
        with TemporaryDirectory() as folder:
            execute(notebook := read(path), folder)
        notebook.metadata = nbformat.from_dict(NEUTRAL)
        for cell in notebook.cells:
            cell.metadata = {}
        nbformat.write(notebook, path)
