"""Figures of a corpus, of its records and of its cells."""

from builders.plots.figures import (
    cells,
    check_suffix,
    coverage,
    depth,
    record,
    save,
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
