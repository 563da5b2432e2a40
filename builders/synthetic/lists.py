"""Parts of a synthetic cell list: its file, labels with exact counts, printed spike waveforms."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a CSV with the columns of the first row, under a temporary name until complete."""
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def deal(
    rng: np.random.Generator,
    cells: Sequence[str],
    counts: Mapping[T, int],
    known: Mapping[str, T] | None = None,
) -> dict[str, T]:
    """Give each cell a random label, each exactly `counts` times; cells in `known` keep theirs."""
    dealt = {cell: label for cell, label in (known or {}).items() if cell in set(cells)}
    rest = [cell for cell in cells if cell not in dealt]
    left = Counter(counts)
    left.subtract(dealt.values())
    labels = list(left.elements())
    return dealt | {
        cell: labels[i] for cell, i in zip(rest, rng.permutation(len(labels)), strict=True)
    }


def printed_waveform(rng: np.random.Generator, width: int) -> str:
    """A spike waveform of 100 points, as numpy prints it; its peak is `width` after the trough.

    numpy prints scientific notation if magnitudes differ by a factor of more than 1000. Half of the
    waveforms get such a small point; in the others, small points are set to 0.
    """
    time = np.arange(100) - 49
    trough = -np.exp(-0.5 * (time / (width / 5)) ** 2)
    peak = rng.uniform(0.2, 0.5) * np.exp(-0.5 * ((time - width) / (width / 2.5)) ** 2)
    points = trough + peak + np.convolve(rng.normal(0, 0.006, 104), np.full(5, 0.2), "valid")
    if rng.random() < 0.5:
        points[rng.integers(30)] = rng.uniform(1e-5, 1e-4)
    else:
        points[np.abs(points) < 0.0015] = 0
    return str(points)
