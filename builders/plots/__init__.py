"""Figures of a corpus, its records and its cells; they need matplotlib."""

from builders.plots.style import check_suffix, save  # first: its error says what to install

from builders.plots.figures import (  # isort: skip
    cells,
    coverage,
    depth,
    record,
    sessions,
    typical_record,
)

__all__ = [
    "cells",
    "check_suffix",
    "coverage",
    "depth",
    "record",
    "save",
    "sessions",
    "typical_record",
]
