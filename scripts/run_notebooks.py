"""Run the notebooks on small synthetic releases, and keep their results: ``make notebooks``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from builders.corpus.registry import find_corpus

SCRIPTS = Path(__file__).parent
CORPORA = ("wingert2026", "nat4")


def run(corpus: str, folder: Path) -> Any:
    """Run the notebook of a corpus, on a synthetic release; everything is kept in a folder."""
    release, elsewhere = folder / f"{corpus}-release", folder / "elsewhere"
    find_corpus(corpus).synthesize(release, "mini", 0, driven=True)
    elsewhere.mkdir(exist_ok=True)
    notebook = nbformat.read(SCRIPTS / f"explore_{corpus}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    environment = {
        **os.environ,
        f"{corpus.upper()}_DATA": str(release),
        "BUILDERS_HOME": str(folder / "caches"),
        "HF_HOME": str(folder / "caches" / "huggingface"),
    }
    resources = {"metadata": {"path": str(elsewhere)}}
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources)
    client.execute(env=environment)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            # Progress bars and warnings name the machine's folders and times.
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Write the results into the notebooks."""
    for corpus in CORPORA:
        with tempfile.TemporaryDirectory() as name:
            found, path = run(corpus, Path(name)), SCRIPTS / f"explore_{corpus}.ipynb"
            nbformat.write(found, path)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
