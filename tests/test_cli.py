"""The command line, as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY


def builders(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "builders", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_help_names_the_commands() -> None:
    done = builders("--help")
    assert done.returncode == 0
    for command in ("synthesize", "info", "card"):
        assert command in done.stdout


def test_synthesize_writes_a_release_that_info_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "nat4"
    assert builders("synthesize", "nat4", folder, "--scale", "mini", "--seed", 3).returncode == 0
    monkeypatch.setenv("NAT4_DATA", str(folder))
    done = builders("info", "nat4")
    assert done.returncode == 0
    assert "A1 cells: 40\n" in done.stdout
    assert "A1 cells found by site, electrode and unit number: 3\n" in done.stdout


def test_info_counts_the_cells_of_each_area(home: Path) -> None:
    done = builders("info", "wingert2026")
    assert done.returncode == 0
    for line in ("cells: 655", "cells in A1: 281", "sites: 10", "archives: "):
        assert line in done.stdout


def test_card_prints_the_card_in_the_folder(home: Path, corpus: str) -> None:
    card = (REPOSITORY / corpus / "README.md").read_text(encoding="utf-8")
    assert builders("card", corpus).stdout == card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "wingert2025"], "did you mean wingert2026?"),
        (["synthesize", "nat4", "tests"], "it is not an empty folder"),
        (["info", "nat4"], "BUILDERS_OFFLINE is set"),
    ],
)
def test_what_a_user_does_wrong_is_a_message_and_no_traceback(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NAT4_DATA", raising=False)
    monkeypatch.setenv("BUILDERS_OFFLINE", "1")
    done = builders(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
