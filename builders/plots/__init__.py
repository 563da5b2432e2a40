"""Figures of a corpus, its records and its cells; they need matplotlib."""

from builders.plots.style import check_suffix, save  # first: its error says what to install

from builders.plots.figures import cells, coverage, depth, sessions  # isort: skip
from builders.plots.records import quality, record, strf, typical_record  # isort: skip

__all__ = [
    "cells",
    "check_suffix",
    "coverage",
    "depth",
    "quality",
    "record",
    "save",
    "sessions",
    "strf",
    "typical_record",
]
