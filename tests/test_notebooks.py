"""Notebooks are whole, carry no outputs, and their cells run from the first to the last."""

import json
import linecache
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs/howto/notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def sources(path, kind):
    """The texts of the cells of a kind."""
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


@every_notebook
def test_notebooks_are_whole(path):
    """The format's version, an explanation first, code that parses, nothing that a run has left behind."""
    book = json.loads(path.read_text())
    assert book["nbformat"] == 4 and book["cells"][0]["cell_type"] == "markdown"
    assert all(not cell["outputs"] and cell["execution_count"] is None
               for cell in book["cells"] if cell["cell_type"] == "code")
    for text in sources(path, "code"):
        compile(text, str(path), "exec")


@pytest.mark.slow
@pytest.mark.timeout(900)  # forty seconds of a processor that others use as well
@every_notebook
def test_notebooks_run(path, tmp_path, monkeypatch):
    """Every cell runs, in order, in an empty folder; the last of its figures is there."""
    monkeypatch.chdir(tmp_path)
    known = {"__name__": "__main__"}
    for number, text in enumerate(sources(path, "code")):
        name = f"{path.name}, cell {number}"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)  # for the traceback
        exec(compile(text, name, "exec"), known)
    assert list(tmp_path.rglob("*.png"))
