"""Figures of a corpus: one record, coverage, depth of cells, kinds of cells, and sessions.

Every function takes what `datasets.load_dataset` returned (one split, or all of a config) and
returns a `matplotlib.figure.Figure`, which needs no display; `save` writes it. Only
`builders.plots` needs matplotlib: ``pip install 'auditory-builders[plots]'``.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from builders.conventions import BIN_SECONDS, NARROW_MS, SUBSETS
from builders.errors import CorpusError
from builders.plots.data import (
    NOT_STATED,
    count_values,
    find_coverage,
    find_presented,
    mean_rate,
    order,
    read_cell_columns,
    read_response,
    read_stimulus,
    spike_times,
)
from builders.plots.style import (
    BLUE,
    GREY,
    PALETTE,
    SUBSET_COLORS,
    TICK_STEPS,
    frequency_ticks,
    label,
    new_figure,
    plural,
)
from builders.ragged import shapes
from builders.rows import Data, column_names, read_table

#: Columns that `cells` can count, and their titles.
KINDS = {
    "area": "area",
    "layer": "layer",
    "celltype": "cell type",
    "auditory": "responds to sound",
    "site": "site",
}


def record(
    records: Data,
    stimuli: Data,
    row: int | None = None,
    *,
    frequencies: tuple[float, float] | None = None,
    note: str = "",
) -> Figure:
    """One record under its stimulus: spectrogram, spikes of every trial, and their mean rate.

    Parameters
    ----------
    records : Dataset or DatasetDict
        Records with spike counts.
    stimuli : Dataset or DatasetDict
        The stimuli; they must contain the record's.
    row : int, optional
        Which record; `typical_record` if None. The splits of a `DatasetDict` count as one table.
    frequencies : (float, float), optional
        Centre frequencies of the lowest and highest band in Hz, between which the bands are spaced
        logarithmically. If None, the axis counts bands.
    note : str, optional
        A small line below the figure.

    Returns
    -------
    Figure
        Three axes with one time axis in seconds, as long as the longest trial or the spectrogram;
        each ends where its data end. Several spikes in one bin are drawn as ticks next to each
        other, spread over the bin. The PSTH (peristimulus time histogram) is the mean of the
        counts in each bin of the trials that have it, over the bin's width, in spikes/s.

    Raises
    ------
    CorpusError
        If there is no such record, its stimulus is not among `stimuli`, or its values are no
        counts.
    """
    table = read_table(records, ("stim_id", "cell_id", "area", "subset", "response"))
    row = typical_record(records) if row is None else row
    if not 0 <= row < len(table):
        raise CorpusError(f"cannot draw record {row}", why=f"there are {len(table)}")
    drawn = table.slice(row, 1).to_pylist()[0]
    response = read_response(drawn["response"])
    spectrogram, bin_seconds = read_stimulus(stimuli, drawn["stim_id"])

    figure, (sound, raster, psth) = new_figure(
        6.0, 3, 1, note, sharex=True, height_ratios=(1.1, 1.3, 0.9)
    )
    area, trials = drawn["area"] or "area not stated", plural(len(response), "trial")
    figure.suptitle(
        f"{drawn['cell_id']} ({area}): {_name(drawn['stim_id'])}, {drawn['subset']}, {trials}",
        fontsize=10,
    )
    bands, bins = spectrogram.shape
    extent = (0, bins * bin_seconds, -0.5, bands - 0.5)
    if bins:
        sound.imshow(spectrogram, origin="lower", aspect="auto", extent=extent, cmap="magma")
    else:
        sound.set_title("no spectrogram", fontsize=9)
    label(sound, y="band" if frequencies is None else "frequency (kHz)")
    if frequencies is not None:
        frequency_ticks(sound, bands, *frequencies)

    raster.eventplot(
        spike_times(response, bin_seconds),
        lineoffsets=range(1, len(response) + 1),
        linelengths=0.8,
        linewidths=0.7,
        colors="black",
    )
    raster.set_ylim(len(response) + 0.6, 0.4)
    raster.yaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1, steps=TICK_STEPS))
    label(raster, y="trial")

    edges = np.arange(response.shape[1] + 1) * bin_seconds
    psth.stairs(mean_rate(response, bin_seconds), edges, fill=True, color=BLUE)
    psth.set_ylim(bottom=0)
    psth.set_xlim(0, max(bins * bin_seconds, edges[-1]))
    label(psth, x="time from the start of the stimulus window (s)", y="rate (spikes/s)")
    figure.align_ylabels()
    return figure


def typical_record(records: Data) -> int:
    """The row number of a typical record to draw.

    Candidates are the validation records (or all, if there are none) with the most trials. Chosen
    is the record at the third quartile of spike counts, which is neither silent nor the busiest.
    """
    table = read_table(records, ("subset", "response"))
    if len(table) == 0:
        raise CorpusError("cannot draw a record", why="there are none")
    is_val = np.array(pc.equal(table["subset"], "val"))
    trials, _ = shapes(table["response"])
    candidates = np.flatnonzero(is_val if is_val.any() else np.ones(len(table), bool))
    candidates = candidates[trials[candidates] == trials[candidates].max()]
    counts = (table["response"][int(row)].values.flatten() for row in candidates)
    spikes = [np.nansum(each.to_numpy(zero_copy_only=False)) for each in counts]
    return int(candidates[np.argsort(spikes, kind="stable")[3 * (len(spikes) - 1) // 4]])


def coverage(records: Data, *, note: str = "") -> Figure:
    """Draw which cells have data for which stimuli: dark where a (stimulus, cell) pair has data.

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
        session and site. If each session has its own stimuli, the image is block-diagonal.

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

    figure, (axes,) = new_figure(5.6, 1, 1, note)
    shades = LinearSegmentedColormap.from_list("presence", ["#EDEDED", BLUE])
    axes.imshow(present, cmap=shades, vmin=0, vmax=1, aspect="auto")
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
        Up to three panels of bars, with the most frequent value first and missing values last.

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
    counts = {kind: count_values(table[kind]) for kind in kinds}
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
        One row per session and four panels. Points are medians, lines go from minimum to maximum.
        The length of a stimulus is that of its spectrogram or, for records, of its longest trial.

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
    rows = np.arange(len(names))

    figure, panels = new_figure(
        1.3 + 0.15 * max(len(names), 6), 1, 4, note, sharey=True, width_ratios=(2, 3, 3, 3)
    )
    lengths, numbers, repetitions, minutes = panels
    _spread(lengths, session, seconds, 0, GREY)
    start = {axes: np.zeros(len(names)) for axes in (numbers, minutes)}
    for name, shift in zip(SUBSETS, (-0.15, 0.15), strict=True):
        of = subset == name
        weights = {numbers: of * 1.0, minutes: of * trials * seconds / 60}
        for axes, weight in weights.items():
            width = np.bincount(session, weight, len(names))
            axes.barh(rows, width, 0.7, start[axes], color=SUBSET_COLORS[name], label=name)
            start[axes] = start[axes] + width
        _spread(repetitions, session[of], trials[of], shift, SUBSET_COLORS[name])
    titles = ("stimulus window (s)", "stimuli", "trials per stimulus", "presented (min)")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, 1.08 * axes.dataLim.x1)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=TICK_STEPS))
        axes.spines[["left"]].set_visible(False)
        label(axes, x=title)
        axes.tick_params(axis="y", length=0, labelsize=7)
        axes.grid(axis="y", color="#EDEDED", lw=0.5)
        axes.set_axisbelow(True)
    lengths.set_yticks(rows, names)
    handles, labels = numbers.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    figure.suptitle(plural(len(names), "session"), fontsize=10)
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


def _name(stim_id: str) -> str:
    return stim_id.rpartition("/")[2]
