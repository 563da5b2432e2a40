"""The option ``--corpus`` of pytest. Loaded in every run of pytest, so it imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--corpus``."""
    text = "a corpus that builders.testing tests; may be repeated"
    parser.addoption("--corpus", action="append", default=[], help=text)
