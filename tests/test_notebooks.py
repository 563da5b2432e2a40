"""The notebooks run from the first cell to the last."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import REPOSITORY

EXPECTED = {
    "wingert2026": ["220", "(8, 32, 2200)", "image/png"],
    "nat4": ["(32, 18, 150)", "(20, 150)", "66150", "image/png"],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("corpus", list(EXPECTED))
def test_a_newcomers_walk(corpus: str, home: Path) -> None:
    notebook = nbformat.read(REPOSITORY / "scripts" / f"explore_{corpus}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # they are not committed
    folder = {"metadata": {"path": str(REPOSITORY / "scripts")}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=folder).execute()
    shown = str([cell.get("outputs") for cell in notebook.cells])
    for words in EXPECTED[corpus]:
        assert words in shown
