"""The code in the README, the cards and the docs runs as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from builders.cli import app
from tests.conftest import REPOSITORY, run_python

TEXTS = sorted(
    [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("*/README.md")]
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def blocks(path: Path, language: str) -> list[str]:
    return [code for of, code in BLOCK.findall(path.read_text(encoding="utf-8")) if of == language]


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("path", [path for path in TEXTS if blocks(path, "python")], ids=name)
def test_python(home: Path, path: Path) -> None:
    """All of a text in one process, one block after the other."""
    run_python("\n".join(blocks(path, "python")))


COMMANDS = [
    (name(path), line)
    for path in TEXTS
    for block in blocks(path, "")
    for line in block.splitlines()
    if line.startswith(("builders ", ".venv/bin/builders "))
]


@pytest.mark.parametrize(("text", "line"), COMMANDS)
def test_commands(text: str, line: str) -> None:
    """Their names, arguments and options exist; what they do is tested elsewhere."""
    _, command, *arguments = shlex.split(line, comments=True)
    group = typer.main.get_command(app)
    found = group.get_command(group.make_context("builders", [], resilient_parsing=True), command)
    found.make_context(command, arguments)
