"""Figures of a corpus: coverage, depth and kinds of cells, and sessions.

Every function takes what `datasets.load_dataset` returned (one split, or all of a config) and
returns a `matplotlib.figure.Figure`, which needs no display; `save` writes it. Only
`builders.plots` needs matplotlib: ``pip install 'auditory-builders[plots]'``.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from builders.conventions import BIN_SECONDS, NARROW_MS, SUBSETS
from builders.errors import CorpusError
from builders.plots.data import (
    NOT_STATED,
    count_values,
    find_coverage,
    find_presented,
    order,
    read_cell_columns,
)
from builders.plots.style import (
    GREY,
    PALETTE,
    SUBSET_COLORS,
    TICK_STEPS,
    label,
    new_figure,
    plural,
)
from builders.rows import Data, column_names

#: Columns that `cells` can count, and their titles.
KINDS = {
    "area": "area",
    "layer": "layer",
    "celltype": "cell type",
    "auditory": "responds to sound",
    "site": "site",
}


def coverage(records: Data, *, note: str = "") -> Figure:
    """Draw which cells have data for which stimuli, in the colour of the subset.

    Parameters
    ----------
    records : Dataset or DatasetDict
        Records; only their ids are read.
    note : str, optional
        A small line below the figure.

    Returns
    -------
    Figure
        An image of (stimuli, cells). Stimuli are ordered by session, subset and name, cells by
        session and site. If each session has its own stimuli, the image is block-diagonal. Pixels
        are 0 without data, 1 in ``est`` and 2 in ``val``.

    Raises
    ------
    CorpusError
        If there are no records.
    """
    found = find_coverage(records)
    if found.present.size == 0:
        raise CorpusError("cannot draw the coverage", why="there are no records")
    rows = order(found.stimuli, ("session", "subset", "stim_id"))
    columns = order(found.cells, ("session", "site"))
    present = found.present[np.ix_(rows, columns)]
    sessions = np.array(found.cells["session"].to_pylist())[columns]

    subsets = np.array(found.stimuli["subset"].to_pylist())[rows]
    shade = np.array([1 + SUBSETS.index(subset) for subset in subsets], np.uint8)

    figure, (axes,) = new_figure(5.6, 1, 1, note)
    colors = {"no data": "#EDEDED", **SUBSET_COLORS}
    shades = ListedColormap([*colors.values()])
    shown = present * shade[:, None]
    axes.imshow(shown, cmap=shades, vmin=0, vmax=2, aspect="auto", interpolation="nearest")
    patches = [Patch(color=color, label=name) for name, color in colors.items()]
    figure.legend(handles=patches, loc="outside lower left", ncols=3, fontsize=8, frameon=False)
    stimuli = plural(present.shape[0], "stimulus", "stimuli")
    label(axes, x=f"{plural(present.shape[1], 'cell')}, by session", y=stimuli)
    axes.set_title(
        f"{present.sum():,} of {present.size:,} (stimulus, cell) pairs have data", fontsize=10
    )
    _session_labels(axes, sessions)
    return figure


def depth(cells: Data, *, note: str = "") -> Figure:
    """Draw the depth of each cell against its spike width, by area.

    Parameters
    ----------
    cells : Dataset or DatasetDict
        Cells, or records of cells, with columns ``depth`` (um below the border of layers 3 and 4,
        negative above it) and ``sw`` (spike width in ms). A cell that lacks one of them is left
        out, and counted in the title.
    note : str, optional
        A small line below the figure.

    Returns
    -------
    Figure
        One panel per area, one point per cell, deep cells at the bottom, a line at `NARROW_MS`.

    Raises
    ------
    CorpusError
        If the corpus states no depth or spike width.
    """
    table = read_cell_columns(cells, ("area", "depth", "sw"))
    stated = table.filter(pc.and_(pc.is_valid(table["depth"]), pc.is_valid(table["sw"])))
    if len(stated) == 0:
        raise CorpusError("cannot draw the depths", why="no cell has a depth and a spike width")
    counts = count_values(stated["area"])

    figure, panels = new_figure(4.6, 1, len(counts), note, sharex=True, sharey=True)
    for axes, (area, count), color in zip(panels, counts, cycle(PALETTE), strict=False):
        of_area = stated.filter(pc.equal(pc.fill_null(stated["area"], NOT_STATED), area))
        widths, depths = of_area["sw"].to_numpy(), of_area["depth"].to_numpy()
        axes.scatter(widths, depths, s=10, color=color, alpha=0.5, linewidths=0)
        axes.axhline(0, color=GREY, lw=0.8, ls=":")
        axes.axvline(NARROW_MS, color="black", lw=1.0, ls="--")
        for text, offset, align in (("narrow", -4, "right"), ("regular", 4, "left")):
            axes.annotate(
                text,
                (NARROW_MS, 1),
                (offset, 2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha=align,
                fontsize=7,
            )
        axes.set_title(f"{area} ({plural(count, 'cell')})", fontsize=9, pad=16)
        label(axes, x="spike width (ms)")
    panels[-1].annotate(
        "border of layers 3 and 4",
        (1, 0),
        (-2, 2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        fontsize=7,
        bbox={"color": "white", "alpha": 0.8, "pad": 0.5},
    )
    panels[0].invert_yaxis()
    panels[0].set_ylabel("depth below the border of layers 3 and 4 (µm)", fontsize=9)
    missing = len(table) - len(stated)
    others = f" ({missing:,} more lack depth or spike width)" if missing else ""
    figure.suptitle(
        f"{plural(len(stated), 'cell')}{others}; narrow-spiking below {NARROW_MS} ms", fontsize=10
    )
    return figure


def cells(data: Data, *, note: str = "") -> Figure:
    """Draw how many cells there are of each kind, for the first three of `KINDS` in the data.

    Parameters
    ----------
    data : Dataset or DatasetDict
        Cells, or records; each cell is counted once.
    note : str, optional
        A small line below the figure.

    Returns
    -------
    Figure
        Up to three panels of bars, with the most frequent value first and missing values last;
        layers from the surface down.

    Raises
    ------
    CorpusError
        If the data have none of these columns.
    """
    kinds = [kind for kind in KINDS if kind in column_names(data)][:3]
    if not kinds:
        raise CorpusError(
            "cannot draw the cells", why=f"the data have no column {', '.join(KINDS)}"
        )
    table = read_cell_columns(data, kinds)
    counts = {kind: count_values(table[kind], by_name=kind == "layer") for kind in kinds}
    height = max(len(each) for each in counts.values())

    row = 0.22 if height <= 12 else 0.16
    figure, panels = new_figure(1.0 + row * height, 1, len(kinds), note)
    figure.suptitle(plural(len(table), "cell"), fontsize=10)
    for axes, (kind, of_kind), color in zip(panels, counts.items(), PALETTE, strict=False):
        names, numbers = zip(*of_kind, strict=True)
        shades = [GREY if name == NOT_STATED else color for name in names]
        bars = axes.barh(range(len(names)), numbers, height=0.75, color=shades)
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(height - 0.5, -0.5)
        axes.set_xlim(0, 1.22 * max(numbers))
        axes.set_xticks([])
        axes.spines[:].set_visible(False)
        label(axes)
        axes.tick_params(left=False)
        axes.set_title(f"{KINDS[kind]} (cells)", fontsize=9, loc="left")
    return figure


def sessions(data: Data, *, note: str = "", bin_ms: float = 1000 * BIN_SECONDS) -> Figure:
    """Draw what was presented in each session: length, number, trials and total time of stimuli.

    Parameters
    ----------
    data : Dataset or DatasetDict
        The stimuli; or records, if the stimuli are not separate for each session. Lengths are read
        from the lists' offsets, never from their values.
    note : str, optional
        A small line below the figure.
    bin_ms : float
        The bin width of records, in milliseconds. Stimuli state theirs.

    Returns
    -------
    Figure
        One row per session, and up to four panels: the length of stimuli and their number of
        trials (points are medians, lines go from minimum to maximum), the number of stimuli and
        the time of all their presentations (bars, ``est`` and ``val`` after one another). What is
        the same everywhere has no panel and stands in the title. The length of a stimulus is that
        of its spectrogram or, for records, of its longest trial.

    Raises
    ------
    CorpusError
        If `data` are stimuli that do not name their session.
    """
    presented = find_presented(data, bin_ms)
    names = sorted(set(presented["session"].to_pylist()))
    session = np.array([names.index(name) for name in presented["session"].to_pylist()])
    subset = np.array(presented["subset"].to_pylist())
    trials, seconds = presented["trials"].to_numpy(), presented["seconds"].to_numpy()
    of_subset = {name: subset == name for name in SUBSETS}

    def show_spreads(axes: Axes) -> None:
        for (name, of), shift in zip(of_subset.items(), (-0.15, 0.15), strict=True):
            _spread(axes, session[of], trials[of], shift, SUBSET_COLORS[name])

    def show_sums(axes: Axes, values: NDArray[Any]) -> None:
        start = np.zeros(len(names))
        for name, of in of_subset.items():
            width = np.bincount(session, of * values, len(names))
            color = SUBSET_COLORS[name]
            axes.barh(np.arange(len(names)), width, 0.7, start, color=color, label=name)
            start = start + width

    drawn: dict[str, Callable[[Axes], None]] = {
        "stimulus window (s)": lambda axes: _spread(axes, session, seconds, 0, GREY),
        "number of stimuli": lambda axes: show_sums(axes, np.ones(len(subset))),
        "trials per stimulus": show_spreads,
        "presented in all (min)": lambda axes: show_sums(axes, trials * seconds / 60),
    }
    facts = [plural(len(names), "session")]
    if (seconds == seconds[0]).all():
        del drawn["stimulus window (s)"]
        facts.append(f"each stimulus window has {seconds[0]:g} s")
    counts = {name: np.unique(trials[of]) for name, of in of_subset.items()}
    if all(len(each) < 2 for each in counts.values()):
        del drawn["trials per stimulus"]
        each = [f"{plural(n[0], 'trial')} of each {name}" for name, n in counts.items() if len(n)]
        facts.append(" and ".join(each) + " stimulus")

    height = 1.3 + 0.15 * max(len(names), 6)
    figure, panels = new_figure(height, 1, len(drawn), note, sharey=True)
    for axes, (title, draw) in zip(panels, drawn.items(), strict=True):
        draw(axes)
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, 1.08 * axes.dataLim.x1)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=TICK_STEPS))
        axes.spines[["left"]].set_visible(False)
        label(axes)
        axes.tick_params(axis="y", length=0, labelsize=7)
        axes.grid(axis="y", color="#EDEDED", lw=0.5)
        axes.set_axisbelow(True)
    panels[0].set_yticks(np.arange(len(names)), names)
    patches = [Patch(color=color, label=name) for name, color in SUBSET_COLORS.items()]
    figure.legend(handles=patches, loc="outside lower left", ncols=2, fontsize=8, frameon=False)
    figure.suptitle("; ".join(facts), fontsize=10)
    return figure


def _session_labels(axes: Axes, sessions: NDArray[np.str_]) -> None:
    """Write session names above their cells; small sessions get no name if there is no room."""
    names, first, sizes = np.unique(sessions, return_index=True, return_counts=True)
    centres = first + (sizes - 1) / 2
    upright = np.diff(centres).min(initial=len(sessions)) < 0.1 * len(sessions)
    room = (0.017 if upright else 0.1) * len(sessions)
    kept: list[int] = []
    for session in np.argsort(-sizes, kind="stable"):
        if all(abs(centres[session] - centres[other]) >= room for other in kept):
            kept.append(int(session))
    for edge in first[1:]:
        axes.axvline(edge - 0.5, color="white", lw=0.3)
    top = axes.secondary_xaxis("top")
    top.spines["top"].set_visible(False)
    top.set_xticks(centres[kept], names[kept], rotation=90 if upright else 0, fontsize=7)
    top.tick_params(length=0)


def _spread(
    axes: Axes, group: NDArray[np.intp], values: NDArray[Any], shift: float, color: str
) -> None:
    """Draw the median of each group as a point, on a line from its minimum to its maximum."""
    for row in np.unique(group):
        of_group = values[group == row]
        axes.hlines(row + shift, of_group.min(), of_group.max(), color=color, lw=1.2)
        axes.plot(np.median(of_group), row + shift, "o", color=color, ms=2.8)
