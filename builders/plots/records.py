"""Figures made from records: one of them, how reliably cells respond, a fitted filter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, cycle
from typing import Any

import numpy as np
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from builders.conventions import BIN_SECONDS
from builders.errors import CorpusError
from builders.metrics import cell_quality
from builders.plots.data import (
    NOT_STATED,
    mean_rate,
    read_cell_columns,
    read_response,
    read_stimulus,
    spike_times,
)
from builders.plots.style import (
    BLUE,
    GREY,
    PALETTE,
    TICK_STEPS,
    frequency_ticks,
    label,
    new_figure,
    plural,
)
from builders.ragged import shapes
from builders.rows import Data, read_table

#: The largest number of bars of a PSTH: more are a solid comb, at the width of a journal's page.
MOST_BARS = 250
#: How many bins a bar may hold: 1, 2, 5, 10, 20, 50, ...
BARS = [*chain.from_iterable((10**e, 2 * 10**e, 5 * 10**e) for e in range(9))]


def record(
    records: Data,
    stimuli: Data,
    row: int | None = None,
    *,
    frequencies: tuple[float, float] | None = None,
    sound_ms: tuple[float, float | None] | None = None,
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
    sound_ms : (float, float or None), optional
        When the sound begins and ends in the stimulus window, in milliseconds; both are marked.
    note : str, optional
        A small line below the figure.

    Returns
    -------
    Figure
        Three axes with one time axis in seconds, as long as the longest trial or the spectrogram;
        each ends where its data end. Several spikes in one bin are drawn as ticks next to each
        other, spread over the bin. The PSTH (peristimulus time histogram) is the mean of the
        counts in some bins of the trials that have them, over their width, in spikes/s; so many
        bins that at most `MOST_BARS` bars are drawn.

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
        image = sound.imshow(
            spectrogram, origin="lower", aspect="auto", extent=extent, cmap="magma"
        )
        # Inside of the axes' own place, so that the three time axes stay aligned.
        bar = figure.colorbar(image, cax=sound.inset_axes((1.01, 0, 0.012, 1)))
        bar.set_label("level (as released)", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    else:
        sound.set_title("no spectrogram", fontsize=9)
    label(sound, y="band number" if frequencies is None else "frequency (kHz)")
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

    end = response.shape[1] * bin_seconds
    width = next(n for n in BARS if response.shape[1] <= n * MOST_BARS)
    rate = mean_rate(response, bin_seconds, width)
    edges = np.minimum(np.arange(len(rate) + 1) * width * bin_seconds, end)
    psth.stairs(rate, edges, fill=True, color=BLUE)
    psth.set_ylim(bottom=0)
    psth.set_xlim(0, max(bins * bin_seconds, end))
    of_width = f"rate (spikes/s,\nin {1000 * width * bin_seconds:g} ms)"
    label(psth, x="time from the start of the stimulus window (s)", y=of_width)
    _mark_sound(sound, [raster, psth], sound_ms)
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


def quality(records: Data, *, note: str = "", bin_ms: float = 1000 * BIN_SECONDS) -> Figure:
    """Draw how reliably each cell responds, by area: signal power against the largest correlation.

    Parameters
    ----------
    records : Dataset or DatasetDict
        Records; of several splits, ``val`` is measured: it has repeated trials.
    note : str, optional
        A small line below the figure.
    bin_ms : float
        The bin width of the records, in milliseconds.

    Returns
    -------
    Figure
        One point per cell: its signal power and its ``cc_max``, the correlation that a perfect
        model would reach; see `builders.metrics`. Cells without an estimate, or without any signal
        power, are left out and counted in the title.

    Raises
    ------
    CorpusError
        If no cell has an estimate: then no stimulus was presented twice.
    """
    val = records["val"] if isinstance(records, dict) and "val" in records else records
    measured = cell_quality(val, bin_ms)
    areas = read_cell_columns(val, ("area",))
    known = dict(zip(areas["cell_id"].to_pylist(), areas["area"].to_pylist(), strict=True))
    area = np.array([known[cell] or NOT_STATED for cell in measured["cell_id"].to_pylist()])
    power, best = (measured[name].to_numpy() for name in ("signal_power", "cc_max"))
    there = np.isfinite(best) & (power > 0)
    if not there.any():
        raise CorpusError(
            "cannot draw how reliably the cells respond",
            why="no cell has an estimate: it takes stimuli that were presented twice or more",
            fix="choose a config with the split val",
        )
    figure, (axes,) = new_figure(4.2, 1, 1, note)
    names = sorted(set(area[there].tolist()), key=lambda name: (name == NOT_STATED, name))
    for name, color in zip(names, cycle(PALETTE), strict=False):
        of = there & (area == name)
        of_name = f"{name} ({plural(int(of.sum()), 'cell')})"
        axes.scatter(power[of], best[of], s=10, color=color, alpha=0.5, linewidths=0, label=of_name)
    axes.set_xscale("log")
    axes.set_ylim(0, 1)
    label(axes, "signal power ((spikes/bin)²)", "largest possible correlation (cc_max)")
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    missing = int((~there).sum())
    others = f"; {missing:,} more have no signal, or no repeated trials" if missing else ""
    axes.set_title(f"{plural(int(there.sum()), 'cell')}{others}", fontsize=10)
    return figure


def strf(
    weights: Any,
    bin_ms: float,
    *,
    frequencies: tuple[float, float] | None = None,
    title: str = "",
    note: str = "",
) -> Figure:
    """The filter of a fitted model: a spectro-temporal receptive field.

    Parameters
    ----------
    weights : (F, L) array_like
        The weight of each band, lag 0 first, lowest band first.
    bin_ms : float
        The width of a lag in milliseconds.
    frequencies : (float, float), optional
        As in `record`.
    title, note : str, optional
        Above and below the figure.

    Returns
    -------
    Figure
        An image with the same colours above and below zero: red excites, blue suppresses. Lags
        run from the response back in time.
    """
    values = np.asarray(weights, np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise CorpusError("cannot draw the filter", why=f"it is no (F, L) array: {values.shape}")
    bands, lags = values.shape
    figure, (axes,) = new_figure(3.2, 1, 1, note)
    most = np.abs(values).max() or 1.0
    extent = (0, lags * bin_ms, -0.5, bands - 0.5)
    image = axes.imshow(
        values, "RdBu_r", origin="lower", aspect="auto", extent=extent, vmin=-most, vmax=most
    )
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
    bar.set_label("weight", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    axes.set_title(title, fontsize=10)
    label(axes, "time before the response (ms)", "band number" if frequencies is None else "")
    if frequencies is not None:
        label(axes, "time before the response (ms)", "frequency (kHz)")
        frequency_ticks(axes, bands, *frequencies)
    return figure


def _mark_sound(
    top: Axes, others: Sequence[Axes], sound_ms: tuple[float, float | None] | None
) -> None:
    """Mark when the sound begins and ends, if that is known."""
    for text, at in zip(("sound on", "off"), sound_ms or (), strict=False):
        if at is None:
            continue
        top.axvline(at / 1000, color="white", lw=0.9, ls=":")
        for axes in others:
            axes.axvline(at / 1000, color=GREY, lw=0.9, ls=":", zorder=0)
        top.annotate(
            text,
            (at / 1000, 1),
            (0, 2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            fontsize=7,
        )


def _name(stim_id: str) -> str:
    return stim_id.rpartition("/")[2]
