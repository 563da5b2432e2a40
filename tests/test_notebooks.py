"""The notebooks run from the first cell to the last, and give the results that they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from scripts.run_notebooks import CORPORA, SCRIPTS, run


def results(notebook: Any) -> list[list[str]]:
    """Of each cell the texts that it shows; of a picture, that it is one."""
    found = []
    for cell in notebook.cells:
        shown = []
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                shown.append("a picture")
            else:
                shown.append("".join(output.get("text") or data.get("text/plain", "")))
        found.append(shown)
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("corpus", CORPORA)
def test_a_newcomers_walk(corpus: str, own_home: Path, tmp_path: Path) -> None:
    kept = nbformat.read(SCRIPTS / f"explore_{corpus}.ipynb", as_version=4)
    assert "**synthetic** release" in kept.cells[0].source
    assert results(run(corpus, tmp_path)) == results(kept)
    assert sum("a picture" in shown for shown in results(kept)) >= 3
    # Progress bars and warnings would name the folders of the machine that ran it.
    assert "stderr" not in str(kept)
