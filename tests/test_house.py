"""Where modules live: what may import what, and that all of it is in a wheel."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, run_python

#: A package imports those before it, and the small modules at the top that belong to no stage.
ORDER = (
    *("release", "nems", "shards", "corpus", "repository"),
    *("export", "validation", "plots", "synthetic"),
)
SMALL = (
    "conventions",
    "errors",
    "files",
    "internals",
    "ragged",
    "rows",
    "schema",
    "texts",
    "threads",
    "urls",
)
FOR_USERS = ("coverage", "metrics", "population", "preprocess", "stimuli", "training")


def imports(path: Path) -> Iterator[str]:
    """The parts of `builders` that a module imports, but for types alone."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    for_types = {
        inner
        for node in nodes
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node not in for_types:
            parts = str(node.module).split(".")
            if parts[0] == "builders":
                yield from parts[1:2] or (alias.name for alias in node.names)


@pytest.mark.parametrize("package", ORDER)
def test_data_flow_one_way(package: str) -> None:
    allowed = {*ORDER[: ORDER.index(package) + 1], *SMALL, "NAME", "URL", "__version__"}
    for path in (REPOSITORY / "builders" / package).glob("*.py"):
        assert set(imports(path)) <= allowed, path


@pytest.mark.parametrize("module", [*SMALL, *FOR_USERS])
def test_what_stands_at_the_top_needs_no_package(module: str) -> None:
    allowed = {*SMALL, *FOR_USERS} if module in FOR_USERS else set(SMALL)
    assert set(imports(REPOSITORY / "builders" / f"{module}.py")) <= allowed


def test_each_module_has_its_place() -> None:
    found = {path.name for path in (REPOSITORY / "builders").iterdir() if path.is_dir()}
    assert found - {"__pycache__"} == set(ORDER)
    modules = {path.stem for path in (REPOSITORY / "builders").glob("*.py")}
    assert modules == {*SMALL, *FOR_USERS, "cli", "__init__", "__main__"}


def test_a_wheel_holds_all_of_it(tmp_path: Path) -> None:
    """What is installed without the repository finds its corpora and their data files."""
    for name in (
        "pyproject.toml",
        "README.md",
        "builders",
        "nat4",
        "wingert2026",
    ):  # it builds there
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, tmp_path / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(tmp_path / "site")]
    subprocess.run([*pip, *options, str(tmp_path)], check=True, timeout=240)
    for name in ("builders", "nat4", "wingert2026"):
        files = {path.relative_to(REPOSITORY) for path in (REPOSITORY / name).rglob("*")}
        there = {path.relative_to(tmp_path / "site") for path in (tmp_path / "site").rglob("*")}
        assert {each for each in files if "__pycache__" not in each.parts} <= there
    said = run_python(
        """
        import builders, fsspec
        from builders.corpus.registry import corpora, find_corpus
        for name in corpora():
            print(find_corpus(name).BUILDER_CONFIGS[0].name)
        print(builders.__file__, fsspec.get_filesystem_class("corpus").__module__)
        """,
        PYTHONPATH=str(tmp_path / "site"),
        PYTHONSAFEPATH="1",
    )
    assert str(tmp_path) in said
    assert "builders.repository.filesystem" in said
