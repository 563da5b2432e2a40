"""Figures show the data: what is drawn is read back and compared with slow counts of the tables."""

from __future__ import annotations

import io
import re
import struct
import textwrap
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, concatenate_datasets, load_dataset
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from typer.testing import CliRunner

from builders import plots as figures
from builders.cli import app
from builders.conventions import NARROW_MS
from builders.corpus.registry import find_corpus
from builders.errors import CorpusError
from builders.metrics import cell_quality
from builders.plots import load as figure_data
from builders.plots import style
from builders.ragged import shapes
from tests.conftest import run_python


@cache
def load(home: Path, corpus: str, config: str | None = None) -> Any:
    return load_dataset(f"./{corpus}", config)


@cache
def rows(home: Path, corpus: str, config: str, *columns: str) -> list[dict[str, Any]]:
    """The rows of all splits, with these columns or all."""
    data = load(home, corpus, config)
    return [
        row
        for split in data.values()
        for row in (split.select_columns(list(columns)) if columns else split)
    ]


def table(**columns: Any) -> Dataset:
    return Dataset.from_dict(columns)


def records(responses: list[Any], subsets: list[str]) -> Dataset:
    """Records of one cell and stimulus each, with these counts."""
    names = [str(number) for number in range(len(responses))]
    ids = {"stim_id": [f"s/{name}" for name in names], "cell_id": [f"c{name}" for name in names]}
    area = ["A1", *[None] * (len(names) - 1)]
    return table(**ids, area=area, subset=subsets, response=responses)


def image(figure: Figure, axes: int = 0) -> Any:
    return np.asarray(figure.axes[axes].images[0].get_array())


def present(figure: Figure) -> Any:
    """Which pairs are drawn in any colour."""
    return image(figure) > 0


# record


def drawn_record(figure: Figure) -> tuple[list[list[float]], Any, Any]:
    """Ticks of each trial; values and edges of the PSTH."""
    _, raster, psth = figure.axes
    ticks = [list(trial.get_positions()) for trial in raster.collections]
    values, edges, _ = psth.patches[0].get_data()
    return ticks, values, edges


def test_a_tick_per_spike_and_the_mean_rate() -> None:
    data = records([[[0, 2, 0, 0], [1, 0, 0, 4]]], ["val"])
    stimuli = table(stim_id=["s/0"], spectrogram=[[[1, 2, 3, 4], [5, 6, 7, 8]]], dt_ms=[10.0])
    ticks, rate, edges = drawn_record(figure := figures.record(data, stimuli, 0))
    np.testing.assert_allclose(ticks[0], [0.0125, 0.0175])
    np.testing.assert_allclose(ticks[1], [0.005, 0.03125, 0.03375, 0.03625, 0.03875])
    np.testing.assert_allclose(rate, [50, 100, 0, 200])
    np.testing.assert_allclose(edges, [0, 0.01, 0.02, 0.03, 0.04])
    assert image(figure).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert figure.get_suptitle() == "c0 (A1): 0, val, 2 trials"


@pytest.mark.parametrize("n_bins", [0, 1, 2, 4, 6])
def test_a_record_under_a_spectrogram_of_another_length(
    n_bins: int, recwarn: pytest.WarningsRecorder
) -> None:
    nan = float("nan")
    data = records([[[0, 2, nan, nan], [1, 0, 3]]], ["val"])
    stimuli = table(stim_id=["s/0"], spectrogram=[[[1.0] * n_bins] * 2], dt_ms=[10.0])
    ticks, rate, edges = drawn_record(figure := figures.record(data, stimuli))
    np.testing.assert_allclose(ticks[0], [0.0125, 0.0175])
    np.testing.assert_allclose(ticks[1], [0.005, 0.02 + 0.01 / 6, 0.025, 0.03 - 0.01 / 6])
    np.testing.assert_allclose(rate, [50, 100, 300, nan])
    np.testing.assert_allclose(edges, [0, 0.01, 0.02, 0.03, 0.04])
    for axes in figure.axes:
        assert axes.get_xlim() == pytest.approx((0, 0.01 * max(n_bins, 4)))
    if n_bins:
        assert image(figure).shape == (2, n_bins)
        assert figure.axes[0].images[0].get_extent()[:2] == pytest.approx([0, 0.01 * n_bins])
    else:
        assert figure.axes[0].get_title() == "no spectrogram"
    figure.savefig(io.BytesIO())
    assert not recwarn.list


def test_a_record_of_a_stimulus_that_the_release_has_no_spectrogram_of(home: Path) -> None:
    chosen = {"session": "CLT027c", "stim_id": "s/0"}
    stimuli = figure_data._load_stimulus(find_corpus("wingert2026"), chosen)
    figure = figures.record(records([[[0, 2, 0]]], ["val"]), stimuli)
    assert figure.axes[0].get_title() == "no spectrogram"
    assert figure.axes[0].get_xlim() == pytest.approx((0, 0.03))


def test_the_record_of_a_corpus_under_its_stimulus(home: Path, corpus: str) -> None:
    data, stimuli = load(home, corpus)["val"], load(home, corpus, "stimuli")
    figure = figures.record(data, stimuli)
    row = data[figures.typical_record(data)]
    ticks, rate, edges = drawn_record(figure)
    trials, bins = len(row["response"]), len(row["response"][0])
    assert [len(each) for each in ticks] == [sum(each) for each in row["response"]]
    for trial, of_trial in zip(row["response"], ticks, strict=True):
        assert Counter(int(time // 0.01) for time in of_trial) == {
            number: count for number, count in enumerate(trial) if count
        }
    width = next(n for n in (1, 2, 5, 10) if bins <= 250 * n)
    of_bars = [
        [n for trial in row["response"] for n in trial[i : i + width]]
        for i in range(0, bins, width)
    ]
    np.testing.assert_allclose(rate, [sum(each) / len(each) / 0.01 for each in of_bars])
    assert edges[-1] == pytest.approx(bins * 0.01)
    assert figure.axes[2].get_ylabel() == f"rate (spikes/s,\nin {10 * width} ms)"
    stimulus = next(each for each in stimuli["val"] if each["stim_id"] == row["stim_id"])
    assert image(figure).tolist() == stimulus["spectrogram"]
    assert figure.axes[0].images[0].get_extent()[:2] == pytest.approx([0, bins * 0.01])
    for axes in figure.axes:
        assert axes.get_xlim() == pytest.approx((0, bins * 0.01))
    for part in (row["cell_id"], row["area"], row["stim"], f"{trials} trials"):
        assert part in figure.get_suptitle()
    assert figure.axes[0].get_ylabel() == "band number"


def test_many_bins_are_averaged_into_bars() -> None:
    nan = float("nan")
    bins = np.zeros((2, 501))
    bins[:, 2], bins[0, 499], bins[0, 500], bins[1, 500] = 2, 3, 1, nan
    data = records([bins.tolist()], ["val"])
    stimuli = table(stim_id=["s/0"], spectrogram=[[[0.0] * 501]], dt_ms=[10.0])
    _, rate, edges = drawn_record(figures.record(data, stimuli))
    assert len(rate) == 101  # of 5 bins each, but for the last
    assert {place: n for place, n in enumerate(rate) if n} == {
        0: pytest.approx(4 / 10 / 0.01),
        99: pytest.approx(3 / 10 / 0.01),
        100: pytest.approx(1 / 0.01),
    }
    assert edges[-2:] == pytest.approx([5.0, 5.01])


def test_the_sound_is_marked_where_it_begins_and_ends() -> None:
    data = records([[[0, 1]]], ["val"])
    stimuli = table(stim_id=["s/0"], spectrogram=[[[0, 1]] * 2], dt_ms=[10.0])
    for sound_ms, marks in ((None, []), ((5.0, None), [0.005]), ((5.0, 15.0), [0.005, 0.015])):
        figure = figures.record(data, stimuli, sound_ms=sound_ms)
        for axes in figure.axes:
            assert [line.get_xdata()[0] for line in axes.lines] == marks
        assert [text.get_text() for text in figure.axes[0].texts] == ["sound on", "off"][
            : len(marks)
        ]
        (bar,) = figure.axes[0].child_axes
        assert bar.get_ylabel() == "level (as released)"


def test_a_filter_has_the_same_colours_above_and_below_zero() -> None:
    figure = figures.strf([[0.0, -2.0], [1.0, 0.0]], 10.0, frequencies=(200, 20_000), title="c0")
    axes, bar = figure.axes
    assert image(figure).tolist() == [[0.0, -2.0], [1.0, 0.0]]
    assert axes.images[0].get_clim() == (-2.0, 2.0)
    assert axes.images[0].get_extent() == [0, 20, -0.5, 1.5]
    assert (axes.get_title(), axes.get_ylabel(), bar.get_ylabel()) == (
        "c0",
        "frequency (kHz)",
        "weight",
    )
    assert figures.strf([[0.0]], 10.0).axes[0].images[0].get_clim() == (-1.0, 1.0)
    for wrong in ([0.0, 1.0], [[float("nan")]]):
        with pytest.raises(CorpusError, match="cannot draw the filter"):
            figures.strf(wrong, 10.0)


def test_the_quality_of_cells_is_what_the_metrics_say(home: Path) -> None:
    val = load(home, "nat4", "all")["val"]
    axes = figures.quality(load(home, "nat4", "all")).axes[0]
    measured = cell_quality(val).to_pylist()
    area = {row["cell_id"]: row["area"] for row in rows(home, "nat4", "cells", "cell_id", "area")}
    expected = defaultdict(list)
    for row in measured:
        if row["signal_power"] > 0 and np.isfinite(row["cc_max"]):
            expected[area[row["cell_id"]]].append((row["signal_power"], row["cc_max"]))
    drawn = {}
    for points in axes.collections:
        name, _, count = points.get_label().partition(" (")
        drawn[name] = [tuple(point) for point in points.get_offsets().tolist()]
        assert count == f"{len(drawn[name])} cells)"
    assert drawn == expected
    assert len(drawn) == 2
    left = len(measured) - sum(map(len, expected.values()))
    assert axes.get_title().startswith(f"{len(measured) - left} cells; {left} more have no signal")


def test_single_trials_say_nothing_of_quality(home: Path) -> None:
    with pytest.raises(CorpusError, match="presented twice or more"):
        figures.quality(load(home, "nat4", "all")["est"])


def test_the_typical_record_is_of_val_with_most_trials_and_the_third_quartile_of_spikes() -> None:
    two = [[[0, spikes], [0, 0]] for spikes in (9, 1, 5, 3, 7)]
    data = records([[[9, 9]] * 3, [[1, 1]], *two], ["est", "val", *["val"] * 5])
    assert figures.typical_record(data) == 6  # 1 3 5 7 9: the fourth of five
    partial = [[[float("nan"), spikes], [0, 0]] for spikes in (9, 1, 5, 3, 7)]
    assert figures.typical_record(records(partial, ["val"] * 5)) == 4
    assert figures.typical_record(records([[[1]], [[1], [1]]], ["est", "est"])) == 1


def test_frequencies_are_marked_where_log_spaced_bands_have_them() -> None:
    data = records([[[0, 1]]], ["val"])
    stimuli = table(stim_id=["s/0"], spectrogram=[[[0, 1]] * 32], dt_ms=[10.0])
    axes = figures.record(data, stimuli, frequencies=(200, 20_000)).axes[0]
    marks = dict(
        zip([each.get_text() for each in axes.get_yticklabels()], axes.get_yticks(), strict=True)
    )
    assert list(marks) == ["0.2", "0.5", "1", "2", "5", "10", "20"]
    assert [marks[each] for each in ("0.2", "2", "20")] == pytest.approx([0, 15.5, 31])
    assert axes.get_ylabel() == "frequency (kHz)"


@pytest.mark.parametrize(
    ("response", "row", "message"),
    [
        ([[0.5, 1]], 0, "no counts"),
        ([[-1, 1]], 0, "no counts"),
        ([[0, 1]], 1, "there are 1"),
    ],
)
def test_what_is_no_record_of_counts_is_not_drawn(response: Any, row: int, message: str) -> None:
    stimuli = table(stim_id=["s/0"], spectrogram=[[[0, 1]]], dt_ms=[10.0])
    with pytest.raises(CorpusError, match=message):
        figures.record(records([response], ["val"]), stimuli, row)


def test_a_record_without_its_stimulus_is_not_drawn() -> None:
    stimuli = table(stim_id=["other"], spectrogram=[[[0, 1]]], dt_ms=[10.0])
    with pytest.raises(CorpusError, match="s/0"):
        figures.record(records([[[0, 1]]], ["val"]), stimuli)


# coverage


def slow_coverage(found: list[dict[str, Any]]) -> list[list[bool]]:
    pairs = {(row["stim_id"], row["cell_id"]) for row in found}
    stimuli: dict[str, tuple[str, str]] = {}
    cells: dict[str, tuple[str, str]] = {}
    for row in found:
        stimuli.setdefault(row["stim_id"], (row["session"], row["subset"]))
        cells.setdefault(row["cell_id"], (row["session"], row["site"]))
    by_session = sorted(stimuli, key=lambda stim_id: (*stimuli[stim_id], stim_id))
    of_session = sorted(cells, key=lambda cell: cells[cell])
    return [[(stim_id, cell) in pairs for cell in of_session] for stim_id in by_session]


def test_two_sites_make_two_blocks(home: Path) -> None:
    sites = [load(home, "wingert2026", site) for site in ("CLT027c", "CLT028c")]
    both = concatenate_datasets([split for site in sites for split in site.values()])
    figure = figures.coverage(both)
    drawn = present(figure)
    assert drawn.shape == (117, 77)
    assert (drawn.sum(), (~drawn).sum()) == (6262, 2747)
    assert image(figure)[:11, 0].tolist() == [1] * 9 + [2] * 2  # est, then val
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["no data", "est", "val"]
    assert drawn[:11, :20].all()
    assert drawn[11:, 20:].all()
    assert figure.axes[0].get_title().startswith("6,262 of 9,009 ")
    labels = figure.axes[0].child_axes[0].get_xticklabels()
    assert [(each.get_text(), each.get_position()[0]) for each in labels] == [
        ("CLT028c", 48),
        ("CLT027c", 9.5),
    ]


def test_coverage_is_what_a_set_of_pairs_says(home: Path, corpus: str) -> None:
    found = rows(home, corpus, "all", "stim_id", "subset", "cell_id", "site", "session")
    drawn = present(figures.coverage(load(home, corpus, "all")))
    assert drawn.sum() == len(found)
    assert drawn.tolist() == slow_coverage(found)


def test_coverage_in_any_order_of_rows(home: Path) -> None:
    data = load(home, "wingert2026", "CLT050c")["val"]
    shuffled = data.shuffle(seed=1)
    columns = ["stim_id", "subset", "cell_id", "site", "session"]
    expected = slow_coverage(list(shuffled.select_columns(columns)))
    assert present(figures.coverage(shuffled)).tolist() == expected


def test_small_sessions_give_way_where_names_would_overlap() -> None:
    sizes = {f"S{number:02}": 1 if number % 2 else 40 for number in range(80)}
    cells = [(session, f"{session}-{n}") for session, size in sizes.items() for n in range(size)]
    sessions, names = zip(*cells, strict=True)
    data = table(
        stim_id=[f"{session}/a" for session in sessions],
        subset=["est"] * len(cells),
        cell_id=names,
        site=sessions,
        session=sessions,
    )
    top = figures.coverage(data).axes[0].child_axes[0]
    assert {each.get_text() for each in top.get_xticklabels()} == {
        session for session, size in sizes.items() if size == 40
    }


# depth


def test_cells_lie_at_their_depth_and_spike_width(home: Path) -> None:
    found = rows(home, "wingert2026", "cells")
    figure = figures.depth(load(home, "wingert2026", "cells"))
    expected = defaultdict(list)
    for row in found:
        if row["depth"] is not None and row["sw"] is not None:
            expected[row["area"]].append((row["sw"], row["depth"]))
    drawn = {}
    for axes in figure.axes:
        area, _, count = axes.get_title().partition(" (")
        drawn[area] = [tuple(point) for point in axes.collections[0].get_offsets().tolist()]
        assert count == f"{len(drawn[area])} cells)"
        assert axes.yaxis_inverted()
        cut_off = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert [list(line.get_xdata()) for line in cut_off] == [[0.35, 0.35]]
        border = ["border of layers 3 and 4"] * (axes is figure.axes[-1])
        assert [each.get_text() for each in axes.texts] == ["narrow", "regular", *border]
    assert drawn == expected
    missing = len(found) - sum(map(len, expected.values()))
    assert figure.get_suptitle().startswith(f"{len(found) - missing} cells ({missing} more lack")


def test_the_cut_off_parts_narrow_from_regular_as_the_list_does(home: Path) -> None:
    for row in rows(home, "wingert2026", "cells"):
        if row["sw"] is not None:
            assert (row["sw"] < NARROW_MS) == row["narrow"]


def test_a_corpus_without_depths_says_which_figures_it_has(home: Path) -> None:
    with pytest.raises(CorpusError, match="no column depth, sw") as error:
        figures.depth(load(home, "nat4", "cells"))
    assert "record, coverage, cells and sessions work" in str(error.value)


def test_each_area_has_a_panel_however_many_there_are() -> None:
    areas = list("abcdefg")
    data = table(cell_id=areas, area=areas, depth=[1.0] * 7, sw=[0.3] * 7)
    assert [len(axes.collections) for axes in figures.depth(data).axes] == [1] * 7


def test_no_cell_with_a_depth_is_an_error() -> None:
    data = table(cell_id=["a", "b"], area=["A1", "A1"], depth=[1.0, None], sw=[None, 0.3])
    with pytest.raises(CorpusError, match="no cell has a depth and a spike width"):
        figures.depth(data)


# cells


def bars(figure: Figure) -> list[dict[str, float]]:
    """Of each panel: each bar's name and length, in the order from the top."""
    return [
        {
            label.get_text(): bar.get_width()
            for label, bar in zip(axes.get_yticklabels(), axes.patches, strict=True)
        }
        for axes in figure.axes
    ]


def test_bars_count_the_cells(home: Path, corpus: str) -> None:
    kinds = {
        "wingert2026": ["area", "layer", "celltype"],
        "nat4": ["area", "auditory", "site"],
        "espejo2019": ["area", "site"],
    }
    found = rows(home, corpus, "cells")
    words = {None: "not stated", True: "yes", False: "no"}
    drawn = bars(figures.cells(load(home, corpus, "cells")))
    assert drawn == [
        Counter(words.get(row[kind], row[kind]) for row in found) for kind in kinds[corpus]
    ]
    for kind, panel in zip(kinds[corpus], drawn, strict=True):
        stated = [count for name, count in panel.items() if name != "not stated"]
        if kind == "layer":
            assert list(panel)[: len(stated)] == sorted(list(panel)[: len(stated)])
        else:
            assert stated == sorted(stated, reverse=True)
        assert "not stated" not in list(panel)[:-1]


def test_the_cells_of_records_count_once(home: Path) -> None:
    areas = bars(figures.cells(load(home, "wingert2026", "CLT027c")))[0]
    assert areas == {"A1": 20}


def test_without_what_it_counts_there_is_no_figure() -> None:
    with pytest.raises(CorpusError, match="no column area, layer"):
        figures.cells(table(cell_id=["a"]))


# sessions


def drawn_sessions(figure: Figure) -> dict[str, Any]:
    """Read back: session to (seconds, stimuli, trials, minutes), the last three of est and val.

    What is the same everywhere stands in the title.
    """
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    title = figure.get_suptitle()
    widths = []
    for axes in (panels["number of stimuli"], panels["presented in all (min)"]):
        est, val = np.split(np.array([(bar.get_x(), bar.get_width()) for bar in axes.patches]), 2)
        assert val[:, 0].tolist() == est[:, 1].tolist()  # stacked
        widths.append((est[:, 1], val[:, 1]))
    points: dict[tuple[int, str], float] = {}
    reach: dict[tuple[int, Any], Any] = {}
    if "trials per stimulus" in panels:
        for line in panels["trials per stimulus"].lines:
            subset = "est" if line.get_color() == style.SUBSET_COLORS["est"] else "val"
            points[round(line.get_ydata()[0]), subset] = line.get_xdata()[0]
        for path in panels["trials per stimulus"].collections:
            segment = path.get_segments()[0]
            reach[round(segment[0][1]), tuple(path.get_colors()[0])] = segment
        assert len(reach) == len(points)
    for n, subset in re.findall(r"(\d+) trials? of each (est|val)", title):
        for row in np.flatnonzero(widths[0][subset == "val"]):
            points[int(row), subset] = int(n)
            reach[int(row), subset] = [(int(n), 0), (int(n), 0)]
    if "stimulus window (s)" in panels:
        seconds = [line.get_xdata()[0] for line in panels["stimulus window (s)"].lines]
    else:
        (length,) = re.findall(r"each stimulus window has ([\d.]+) s", title)
        seconds = [float(length)] * len(names)
    return {
        name: (
            pytest.approx(seconds[row]),
            [int(each[row]) for each in widths[0]],
            [points.get((row, subset)) for subset in ("est", "val")],
            [pytest.approx(each[row]) for each in widths[1]],
            sorted([float(a[0]), float(b[0])] for (at, _), (a, b) in reach.items() if at == row),
        )
        for row, name in enumerate(names)
    }


def slow_sessions(presented: set[tuple[str, str, str, int, int]]) -> dict[str, Any]:
    """From (session, subset, stimulus, trials, bins)."""
    found = {}
    for name in {each[0] for each in presented}:
        of = {
            subset: [each for each in presented if each[:2] == (name, subset)]
            for subset in ("est", "val")
        }
        trials = {subset: [each[3] for each in of[subset]] for subset in of}
        found[name] = (
            np.median([each[4] for each in of["est"] + of["val"]]) * 0.01,
            [len(of[subset]) for subset in of],
            [float(np.median(each)) if each else None for each in trials.values()],
            [sum(each[3] * each[4] * 0.01 / 60 for each in of[subset]) for subset in of],
            sorted([min(each), max(each)] for each in trials.values() if each),
        )
    return found


def test_sessions_show_what_the_stimuli_say(home: Path) -> None:
    presented = {
        (row["session"], row["subset"], row["stim"], row["n_trials"], len(row["spectrogram"][0]))
        for row in rows(home, "wingert2026", "stimuli")
    }
    drawn = drawn_sessions(figures.sessions(load(home, "wingert2026", "stimuli")))
    assert drawn == slow_sessions(presented)
    assert list(drawn) == sorted(drawn)


def test_sessions_show_what_the_records_say(home: Path) -> None:
    presented = {
        (row["session"], row["subset"], row["stim"], len(row["response"]), len(row["response"][0]))
        for row in rows(home, "nat4", "all", "session", "subset", "stim", "response")
    }
    assert drawn_sessions(figures.sessions(load(home, "nat4"))) == slow_sessions(presented)


def test_a_stimulus_is_as_long_as_its_longest_trial() -> None:
    responses = [[[0, 1], [0, 1, 2, 3]], [[0] * 6]]
    ids = {"stim_id": ["a", "b"], "session": ["s"] * 2, "subset": ["est"] * 2}
    drawn = drawn_sessions(figures.sessions(table(**ids, response=responses)))
    assert drawn == slow_sessions({("s", "est", "a", 2, 4), ("s", "est", "b", 1, 6)})


def test_what_is_the_same_everywhere_has_no_panel(home: Path) -> None:
    presented = {("s", "est", "a", 1, 150), ("t", "est", "b", 1, 150), ("t", "val", "c", 20, 150)}
    columns = list(zip(*sorted(presented), strict=True))
    responses = [[[0] * bins] * trials for *_, trials, bins in sorted(presented)]
    ids = dict(zip(("session", "subset", "stim_id"), columns[:3], strict=True))
    figure = figures.sessions(table(**{k: [*v] for k, v in ids.items()}, response=responses))
    assert len(figure.axes) == 2
    assert figure.get_suptitle() == (
        "2 sessions; each stimulus window has 1.5 s; "
        "1 trial of each est and 20 trials of each val stimulus"
    )
    assert drawn_sessions(figure) == slow_sessions(presented)
    assert len(figures.sessions(load(home, "wingert2026", "stimuli")).axes) == 4


def test_stimuli_of_no_session_are_not_drawn(home: Path) -> None:
    with pytest.raises(CorpusError, match="draw it from the records"):
        figures.sessions(load(home, "nat4", "stimuli"))


@given(st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=8), st.data())
def test_shapes_are_those_of_the_matrices(lengths: list[list[int]], data: Any) -> None:
    """The rows of a matrix may differ in length: the longest counts."""
    matrices = [[[0.0] * columns for columns in of_rows] for of_rows in lengths]
    kind = pa.list_(pa.list_(pa.float32()))
    cut = data.draw(st.integers(0, len(lengths)))
    whole = pa.array(matrices, kind)
    chunked = pa.chunked_array([whole[:cut], whole[cut:]], kind)
    found = shapes(chunked)
    assert [each.tolist() for each in found] == [
        [len(of_rows) for of_rows in lengths],
        [max(of_rows, default=0) for of_rows in lengths],
    ]


# The command line


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:])
    return width, height


HEIGHTS = {"record": 900, "coverage": 840, "depth": 690, "cells": None, "sessions": None}
HEIGHTS["quality"] = 630


@pytest.mark.parametrize("figure", list(HEIGHTS))
def test_the_command_writes_a_picture_eight_inches_wide(
    home: Path, corpus: str, figure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["plot", corpus, figure, "--note", "synthetic data"])
    if figure == "depth" and corpus != "wingert2026":
        assert isinstance(done.exception, CorpusError)
        assert not list(tmp_path.iterdir())
        return
    assert done.exception is None
    assert done.stdout == f"{corpus}-{figure}.png\n"
    width, height = png_size(tmp_path / f"{corpus}-{figure}.png")
    assert width == 1200
    assert height == (HEIGHTS[figure] or height)


@pytest.mark.parametrize(("suffix", "head"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_suffix_names_the_format(home: Path, tmp_path: Path, suffix: str, head: bytes) -> None:
    path = tmp_path / f"cells.{suffix}"
    arguments = ["plot", "wingert2026", "cells", "--config", "CLT027c", "--out", str(path)]
    assert CliRunner().invoke(app, arguments).exception is None
    assert path.read_bytes().startswith(head)


@pytest.mark.parametrize(
    ("figure", "config"),
    [("record", "est"), ("coverage", "goodpred"), ("depth", "CLT027c"), ("sessions", "CLT027c")],
)
def test_a_config_is_drawn(home: Path, tmp_path: Path, figure: str, config: str) -> None:
    path = tmp_path / "figure.png"
    arguments = ["plot", "wingert2026", figure, "--config", config, "--out", str(path)]
    assert CliRunner().invoke(app, arguments).exception is None
    assert png_size(path)[0] == 1200


def test_the_record_that_is_asked_for(own_home: Path, tmp_path: Path) -> None:
    def drawn(*options: str) -> str:
        path = tmp_path / "record.svg"
        run = CliRunner().invoke(
            app, ["plot", "wingert2026", "record", "--out", str(path), *options]
        )
        if run.exception:
            return str(run.exception)
        (title,) = re.findall(r"<!-- (.* trials?) -->", path.read_text())
        return str(title)

    one = ["--cell", "CLT027c-009-1"]
    assert drawn(*one, "--stim", "STIM_00seq1.wav").startswith(
        "CLT027c-009-1 (A1): STIM_00seq1.wav, val, "
    )
    assert drawn(*one, "--split", "est").startswith("CLT027c-009-1 (A1): STIM_seq")
    named = drawn("--config", "CLT027c", "--stim", "CLT027c/STIM_00seq4.wav")
    assert "STIM_00seq4.wav, val, " in named
    # Only the shards of that site are built.
    built = (own_home / "builders" / "shards" / "wingert2026" / "data").rglob("*.arrow")
    assert {path.parent.name for path in built} == {"CLT027c"}
    unknown = drawn("--cell", "CLT027c-09-1")
    assert "CLT027c-009-1 or " in unknown.split("valid names")[0]
    assert unknown.endswith(" and 555 more")
    assert "there are none" in drawn(*one, "--stim", "STIM_no.wav")
    assert "unknown split of CLT027c 'test'" in drawn(*one, "--split", "test")


def test_dots_and_size(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "cells.png"
    arguments = ["plot", "nat4", "cells", "--out", str(path), "--dpi", "100", "--size", "3.5", "2"]
    assert CliRunner().invoke(app, arguments).exception is None
    assert png_size(path) == (350, 200)
    error = CliRunner().invoke(app, ["plot", "nat4", "cells", "--cell", "a"]).exception
    assert "cannot draw the cells of one record" in str(error)


def test_a_corpus_that_states_its_frequencies_gets_an_axis_in_kilohertz(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_corpus("nat4"), "frequencies", (200.0, 20_000.0), raising=False)
    path = tmp_path / "record.svg"  # which names its texts in comments
    arguments = ["plot", "nat4", "record", "--out", str(path)]
    assert CliRunner().invoke(app, arguments).exception is None
    assert "frequency (kHz)" in path.read_text()


def test_the_note_stands_in_the_figure(home: Path) -> None:
    figure = figures.cells(load(home, "nat4", "cells"), note="synthetic data")
    assert "synthetic data" in [text.get_text() for text in figure.texts]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wingert2026", "cells", "--config", "A11"], "did you mean A1?"),
        (["nat4", "coverage", "--config", "cells"], "the config cells has none"),
        (["nat4", "sessions", "--config", "stimuli"], "draw it from the records"),
        (["wingert2026", "cells", "--out", "cells.bmp"], "unknown format '.bmp'"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(home: Path, arguments: list[str], message: str) -> None:
    error = CliRunner().invoke(app, ["plot", *arguments]).exception
    assert isinstance(error, CorpusError)
    assert message in str(error)


def test_a_record_needs_the_shards_of_its_own_site_only(own_home: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "record.png")
    arguments = ["plot", "wingert2026", "record", "--config", "CLT027c", "--out", out]
    assert CliRunner().invoke(app, arguments).exception is None
    shards = (own_home / "builders" / "shards").rglob("*.parquet")
    sessions = {part for path in shards for part in path.parts if part.startswith(("PRN", "CLT"))}
    assert sessions == {"CLT027c"}


WITHOUT = """
import sys
sys.modules["matplotlib"] = None  # what the interpreter does for a package that is not there
"""


def test_without_matplotlib_everything_else_works() -> None:
    code = """
    import importlib, pkgutil, builders
    for module in pkgutil.walk_packages(builders.__path__, "builders.", lambda name: None):
        if not module.name.startswith(("builders.plots", "builders.__main__")):
            importlib.import_module(module.name)
    try:
        import builders.plots
    except builders.errors.CorpusError as error:
        print(error)
    """
    said = run_python(WITHOUT + textwrap.dedent(code))
    assert "cannot draw" in said
    assert "pip install 'auditory-builders[plots]'" in said


def test_the_command_without_matplotlib_says_what_to_install() -> None:
    said = run_python(
        WITHOUT
        + """
sys.argv = ["builders", "plot", "nat4", "cells"]
sys.stderr = sys.stdout
from builders.cli import main
try:
    main()
except SystemExit as end:
    print("exit", end.code)
"""
    )
    assert said.startswith("error: cannot draw")
    assert "pip install 'auditory-builders[plots]'" in said
    assert said.endswith("exit 1\n")
