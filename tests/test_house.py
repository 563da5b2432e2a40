"""Where modules live: what may import what, what has tests where, and that a wheel holds it all."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import URL
from tests.conftest import REPOSITORY, run_python
from tests.test_snippets import blocks

PACKAGES = ("builders", "espejo2019", "nat4", "wingert2026")
STAGES = (
    *("cli", "encoders", "release", "nems", "shards", "corpus", "repository"),
    *("export", "families", "validation", "plots", "synthetic", "template", "testing"),
)
SHARED = (
    *("conventions", "errors", "files", "internals", "ragged"),
    *("rows", "schema", "texts", "threads", "urls"),
)
FOR_USERS = (
    *("ceilings", "coverage", "joined", "metrics", "population", "preprocess"),
    *("scoring", "stimuli", "streamed", "training"),
)
LINT = "from importlinter.cli import lint_imports_command as lint; lint()"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the packages in a folder, by the contracts in pyproject.toml."""
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def copy_packages(folder: Path) -> None:
    """What a wheel is made of."""
    for name in ("pyproject.toml", "README.md", "builders", "espejo2019", "nat4", "wingert2026"):
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, folder / name)


def test_data_flow_one_way() -> None:
    done = lint_imports(REPOSITORY)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("nems/epochs", "from builders.shards import notes"),
        ("shards/spikes", "from builders.export import run"),
        ("training", "from builders.release import zips"),
        ("texts", "from builders import errors"),
    ],
)
def test_an_import_that_runs_back_up_is_found(tmp_path: Path, module: str, line: str) -> None:
    copy_packages(tmp_path)
    file = tmp_path / "builders" / f"{module}.py"
    file.write_text(f"{file.read_text()}\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert f"builders.{module.replace('/', '.')} -> " in done.stdout


def test_each_module_has_its_place() -> None:
    found = {path.name for path in (REPOSITORY / "builders").iterdir() if path.is_dir()}
    assert found - {"__pycache__"} == set(STAGES)
    modules = {path.stem for path in (REPOSITORY / "builders").glob("*.py")}
    assert modules == {*SHARED, *FOR_USERS, "__init__", "__main__"}


def test_from_a_wheel_to_the_first_batch(home: Path, tmp_path: Path) -> None:
    """By the first page of the documentation; it is installed by itself, away from the clone."""
    copy_packages(tmp_path)  # it is built there
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*pip, *options, str(tmp_path)], check=True, timeout=240)
    there = {path.relative_to(site) for path in site.rglob("*")}
    for name in ("builders", "espejo2019", "nat4", "wingert2026"):
        files = [path.relative_to(REPOSITORY) for path in (REPOSITORY / name).rglob("*")]
        assert {each for each in files if "__pycache__" not in each.parts} <= there
    first_page = blocks(REPOSITORY / "docs" / "index.md", "python")
    check = f"""
for corpus in ("nat4", "wingert2026"):
    assert len(load_dataset("{site}/" + corpus, "A1", split="val"))
print(builders.__file__, *batch["response"].shape)
"""
    said = run_python("\n".join([*first_page, check]), PYTHONPATH=str(site), PYTHONSAFEPATH="1")
    file, n, _, n_bins = said.split()[-4:]
    assert Path(file).is_relative_to(site)
    assert (int(n), int(n_bins)) == (8, 2200)


def _heads() -> Iterator[str]:
    """The first words of all errors in the code, with ``...`` for what differs each time."""
    files = [file for name in PACKAGES for file in (REPOSITORY / name).rglob("*.py")]
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text()))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        raised = getattr(node.func, "id", "")
        text = node.args[0]
        if raised not in ("CorpusError", "MissingError", "RecordingError", "unknown"):
            continue
        if isinstance(text, ast.Constant):
            head = str(text.value)
        elif isinstance(text, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "..." for p in text.values]
            head = "".join(map(str, parts))
        else:
            continue
        yield f"unknown {head} ..." if raised == "unknown" and head[-1] != ":" else head


def test_every_error_is_explained() -> None:
    text = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`([^`]+)`", text))
    heads = set(_heads())
    assert len(heads) > 90
    for head in heads:
        assert {head, f"unknown {head}", head.replace("... ...", "...")} & explained, head


def test_each_module_has_tests_of_its_name_or_a_line_that_says_which() -> None:
    table = (REPOSITORY / "tests" / "README.md").read_text(encoding="utf-8").split("|---|---|")[1]
    for path in (REPOSITORY / "builders").rglob("*.py"):
        module = path.relative_to(REPOSITORY / "builders")
        mirrored = REPOSITORY / "tests" / module.parent / f"test_{module.name}"
        if not (module.name.startswith("__") or mirrored.exists()):
            assert f"`{module}`" in table or f"`{module.parent}/`" in table, module
    for name in re.findall(r"`([\w/]*test_\w+\.py)`", table):
        assert (REPOSITORY / "tests" / name).exists(), name


@pytest.mark.parametrize(
    "text",
    sorted(
        str(path.relative_to(REPOSITORY))
        for path in [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]
    ),
)
def test_links_lead_somewhere(text: str) -> None:
    path = REPOSITORY / text
    content = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!http)([^)#]*)", content):
        assert (path.parent / link).exists(), link
    for link in re.findall(rf"\]\({re.escape(URL)}/blob/main/([^)#]*)", content):
        assert (REPOSITORY / link).exists(), link
    if text == "README.md":  # also the description of the package, which has no folder
        assert not re.findall(r"\]\((?!http|#)", content)


def test_the_source_distribution_has_what_its_tests_need(tmp_path: Path) -> None:
    copy, out = tmp_path / "copy", tmp_path / "out"
    kept = ("builders", "docs", "espejo2019", "fuzz", "nat4", "scripts", "tests", "wingert2026")
    for name in kept:
        shutil.copytree(
            REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for path in REPOSITORY.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(out)!r})"
    out.mkdir()
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    (file,) = out.iterdir()
    with tarfile.open(file) as tar:
        there = {name.partition("/")[2] for name in tar.getnames()}
    for name in kept:
        files = {path.relative_to(copy).as_posix() for path in (copy / name).rglob("*")}
        assert {each for each in files if (copy / each).is_file()} <= there, name
    for name in ("Makefile", "constraints.txt", "constraints-oldest.txt", "CHANGELOG.md"):
        assert name in there
