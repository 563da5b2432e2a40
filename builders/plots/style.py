"""How all figures look: size, colours, ticks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from builders.conventions import SUBSETS
from builders.errors import CorpusError

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
except ImportError as error:
    raise CorpusError(
        "cannot draw", why=error, fix="pip install 'auditory-builders[plots]'"
    ) from error

#: The formats that `save` writes, by the file's suffix.
SUFFIXES = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 150
WIDTH_INCHES = 8.0

# The colour-blind safe palette of Okabe & Ito (2008), "Color Universal Design".
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, GREY = "#56B4E9", "#7F7F7F"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, SKY)
SUBSET_COLORS = dict(zip(SUBSETS, (BLUE, VERMILION), strict=True))

#: Ticks lie at 1, 2 or 5 times a power of ten.
TICK_STEPS = (1, 2, 5, 10)

#: Ticks of a logarithmic frequency axis, in Hz.
FREQUENCY_TICKS = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)


def save(
    figure: Figure,
    path: Path,
    dpi: float = DOTS_PER_INCH,
    size: tuple[float, float] | None = None,
) -> None:
    """Write a figure in the format that the file's suffix names.

    Parameters
    ----------
    figure : Figure
        What a function of `builders.plots` returned.
    path : Path
        A file that ends in .png, .svg or .pdf.
    dpi : float
        Dots per inch of a .png.
    size : (float, float), optional
        Width and height in inches; if None, 8 inches and as high as the figure needs.
    """
    check_suffix(path)
    if size:
        figure.set_size_inches(size)
    figure.savefig(path, dpi=dpi)


def check_suffix(path: Path) -> None:
    """Raise a `CorpusError` if `save` does not know the file's format."""
    if path.suffix.lower() not in SUFFIXES:
        raise CorpusError(
            "cannot write the figure",
            where=path,
            why=f"unknown format {path.suffix!r}",
            fix=f"choose a file that ends in {', '.join(SUFFIXES)}",
        )


def new_figure(
    height: float, rows: int, columns: int, note: str, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Make a figure of this height in inches; returns it and its axes, row by row."""
    share = 0.18 / height if note else 0.0
    layout = ConstrainedLayoutEngine(rect=(0, share, 1, 1 - share), wspace=0.03)
    figure = Figure((WIDTH_INCHES, height), layout=layout)
    figure.text(0.995, 0.3 * share, note, ha="right", fontsize=7, color=GREY)
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel().tolist()
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def label(axes: Axes, x: str = "", y: str = "") -> None:
    """Name the axes, in the size that all figures have."""
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)


def frequency_ticks(axes: Axes, bands: int, lowest: float, highest: float) -> None:
    """Set ticks in kHz on the y axis of log-spaced bands."""
    ticks = [hertz for hertz in FREQUENCY_TICKS if lowest <= hertz <= highest]
    rows = np.log(np.array(ticks) / lowest) / np.log(highest / lowest) * (bands - 1)
    axes.set_yticks(rows, [f"{hertz / 1000:g}" for hertz in ticks])


def plural(count: int, one: str, many: str = "") -> str:
    """A number with its noun: ``1 cell``, ``2,331 cells``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
