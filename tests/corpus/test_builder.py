"""The contract that every corpus keeps, run over ours; and what is no corpus."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import OURS, run_python

pytest.register_assert_rewrite("builders.testing.test_contract")

from builders.testing.test_contract import *  # noqa: E402, F403


@pytest.fixture(scope="module", params=OURS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def release(name: str, releases: Callable[[str], Path]) -> Path:
    return releases(name)


GOOD = """
from builders.corpus.builder import CorpusBuilder
from builders.corpus.configs import CorpusConfig

class Good(CorpusBuilder):
    corpus, source, published, card = "mine", "https://example.org", {}, {}
    BUILDER_CONFIGS = [CorpusConfig("cells", globs={"cells": ("cells.parquet",)})]
    DEFAULT_CONFIG_NAME = "cells"

    @classmethod
    def jobs(cls, release): return []
    @classmethod
    def describe(cls, release): return {}
    @classmethod
    def facts(cls): return []
    @classmethod
    def reference(cls, release): return iter(())
    @classmethod
    def synthesize(cls, folder, scale, seed, driven=False): pass
"""


def install(folder: Path, code: str, name: str = "mine", package: str = "theirs") -> None:
    """A package of a third party with one corpus, in a folder on the path."""
    installed = folder / f"{package}-1.dist-info"
    installed.mkdir(parents=True)
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text(code)
    (folder / package / "README.md").write_text("# Mine\n")
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(f"[builders.corpora]\n{name} = {package}:Good\n")


def run_with(folder: Path, code: str) -> str:
    paths = [str(folder), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return run_python(code, PYTHONPATH=os.pathsep.join(filter(None, paths)))


FIND = """
    from builders.corpus.registry import find_corpus
    from builders.errors import CorpusError
    try:
        print(find_corpus("mine").corpus)
    except CorpusError as error:
        print(error)
    """
LISTED = """
    import warnings, fsspec
    from typer.testing import CliRunner
    from builders.cli import app
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        print(fsspec.filesystem("corpus").ls("", detail=False))
    print("WARNED", *(each.message for each in caught))
    print("STATUS", CliRunner().invoke(app, ["status"]).output)
    print("INFO", CliRunner().invoke(app, ["info", "wingert2026"]).output)
    """


def test_a_corpus_of_a_third_party_is_found(home: Path, tmp_path: Path) -> None:
    install(tmp_path, GOOD)
    assert run_with(tmp_path, FIND) == "mine\n"
    listed, said = run_with(tmp_path, LISTED).split("WARNED")
    assert "'mine'" in listed
    assert "skipped" not in said
    # It is not on Zenodo, and whoever asks for it is told how to name the files.
    assert "no release of mine" in said
    assert "set MINE_DATA to their folder" in said


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("from builders", "import no_such_package\nfrom builders", "No module named 'no_such"),
        ("class Good", "raise SystemError('boom')\nclass Good", "SystemError: boom"),
        ("class Good", "raise SystemExit('bye')\nclass Good", "SystemExit: bye"),
        ("class Good(CorpusBuilder)", "class Good", "is no CorpusBuilder"),
        ("def describe", "def other", "Good lacks describe"),
        ("published, card =", "published, other =", "Good lacks card"),
        ('"mine"', '"others"', "its attribute corpus is 'others', its entry point 'mine'"),
        ('NAME = "cells"', 'NAME = "all"', "DEFAULT_CONFIG_NAME is 'all', which is no config"),
        ('{"cells": (', '{"train": (', "the config cells has a split 'train'"),
        ('("cells.parquet",)', '"cells.parquet"', "has no tuple of globs of the split cells"),
        ('("cells.parquet",)', "()", "has no tuple of globs of the split cells"),
        ('globs={"cells": ("cells.parquet",)}', "", "the config cells has no tuple of globs"),
        ("[CorpusConfig", "2 * [CorpusConfig", "two configs are called cells"),
    ],
)
def test_a_broken_corpus_is_named_and_skipped(
    home: Path, tmp_path: Path, old: str, new: str, why: str
) -> None:
    assert old in GOOD
    install(tmp_path, GOOD.replace(old, new, 1))
    said = run_with(tmp_path, FIND)
    assert "the corpus mine" in said
    assert "theirs:Good of the package theirs" in said
    assert why in said
    listed, said = run_with(tmp_path, LISTED).split("WARNED")
    assert "wingert2026" in listed
    assert "mine" not in listed
    warned, status, info = re.split("STATUS|INFO", said)
    assert warned.count(why) == status.count(why) == info.count(why) == 1
    assert "wingert2026\n" in status
    assert "cells: 655" in info


def test_two_packages_with_one_corpus_and_a_corpus_without_a_card(
    home: Path, tmp_path: Path
) -> None:
    install(tmp_path, GOOD)
    install(tmp_path, GOOD, package="others")
    both = "others:Good of others, theirs:Good of theirs"
    assert f"2 packages have a corpus of this name: {both}" in run_with(tmp_path, FIND)
    install(tmp_path / "bare", GOOD)
    (tmp_path / "bare" / "theirs" / "README.md").unlink()
    assert "there is no card" in run_with(tmp_path / "bare", FIND)
    install(tmp_path / "odd", GOOD.replace('"mine"', '"My-Data"'), name="My-Data")
    find = FIND.replace('"mine"', '"My-Data"')
    assert "no name of lower-case letters" in run_with(tmp_path / "odd", find)
