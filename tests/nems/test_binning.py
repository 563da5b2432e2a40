"""Spike times to trials x bins: planted values, then a slow reference that anyone can check."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from builders.nems.binning import MAX_BINS, Trials, count_spikes, find_trials, ranges, spike_bins

Bounds = Sequence[tuple[float, float]]
FS = 100.0


def place(bounds: Bounds, fs: float = FS) -> Trials:
    starts, ends = np.array(bounds, np.float64).reshape(-1, 2).T
    return find_trials(starts, ends, fs)


def trials(bounds: Bounds, fs: float = FS) -> list[tuple[float, int, int]]:
    """Onset, first bin and number of bins of each trial."""
    found = place(bounds, fs)
    assert found.first.dtype == found.n_bins.dtype == np.int64
    return list(
        zip(found.onsets.tolist(), found.first.tolist(), found.n_bins.tolist(), strict=True)
    )


def bins(times: Sequence[float], n_bins: int = 100, fs: float = FS) -> list[int]:
    found = spike_bins(np.array(times, np.float64), fs, n_bins)
    assert found.dtype == np.int32
    return list(map(int, found))


def counts(times: Sequence[float], bounds: Bounds, fs: float = FS) -> list[list[int]]:
    """Spike counts of each trial, through all three steps."""
    placed = trials(bounds, fs)
    first, sizes = (np.array([each[i] for each in placed], np.int64) for i in (1, 2))
    spikes = np.array(bins(times, int(max(first + sizes, default=0)), fs), np.int64)
    flat = count_spikes(spikes, first, sizes)
    assert flat.dtype == np.float32
    assert flat.shape == (sizes.sum(),)
    return [each.tolist() for each in np.split(flat, np.cumsum(sizes)[:-1])] if placed else []


# The bin of a spike


def test_a_bin_begins_at_its_left_edge() -> None:
    assert bins([0.0, 0.0099, 0.01, 0.0199, 0.02]) == [0, 0, 1, 1, 2]


def test_a_bin_is_the_floor_in_float64_and_nothing_is_corrected() -> None:
    assert 0.29 * FS < 29
    assert bins([0.29]) == [28]


def test_spikes_outside_the_recording_are_dropped() -> None:
    assert bins([-1.0, -0.001, -0.0, 0.0499, 0.05, 7.0, 1e300], n_bins=5) == [0, 4]


def test_bins_are_ascending_and_stand_once_for_each_spike() -> None:
    assert bins([0.035, 0.011, 0.034, 0.019]) == [1, 1, 3, 3]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_spike_time_must_be_finite(value: float) -> None:
    with pytest.raises(ValueError, match="spike time"):
        bins([0.1, value])


# The bins of an epoch


def test_an_epoch_is_rounded_half_to_even() -> None:
    bounds = [(0.5, 1.5), (2.5, 3.5), (4.5, 7.5), (8.4, 8.6)]
    assert trials(bounds, fs=1.0) == [(0.5, 0, 2), (2.5, 2, 2), (4.5, 4, 4), (8.4, 8, 1)]


def test_its_length_is_the_difference_of_its_rounded_bounds() -> None:
    assert trials([(0.104, 0.206)]) == [(0.104, 10, 11)]  # 10.2 bins long
    assert trials([(0.106, 0.204)]) == [(0.106, 11, 9)]  # 9.8


def test_occurrences_come_in_time_order_with_their_own_onsets() -> None:
    bounds = [(0.604, 0.7), (0.0, 0.1), (0.301, 0.4)]
    assert trials(bounds) == [(0.0, 0, 10), (0.301, 30, 10), (0.604, 60, 10)]


def test_touching_occurrences_are_kept() -> None:
    assert trials([(0.1, 0.2), (0.0, 0.1)]) == [(0.0, 0, 10), (0.1, 10, 10)]


def test_an_overlapping_occurrence_is_dropped_and_noted() -> None:
    found = place([(0.0, 0.1), (0.09, 0.19), (0.05, 0.15), (0.2, 0.3)])
    assert found.onsets.tolist() == [0.0, 0.2]
    assert found.left_out == ("2 occurrences left out: overlapping the one before",)


def test_of_two_that_begin_at_once_the_shorter_one_is_kept() -> None:
    assert trials([(0.0, 0.2), (0.0, 0.1)]) == [(0.0, 0, 10)]
    assert place([(0.0, 0.2), (0.0, 0.1)]).left_out == (
        "1 occurrence left out: overlapping the one before",
    )


def test_a_row_that_stands_twice_is_one_trial_and_no_loss() -> None:
    """In bins: what is left out has no other spikes."""
    found = place([(0.0, 0.1), (0.0, 0.1), (0.001, 0.101)])
    assert found.onsets.tolist() == [0.0]
    assert found.left_out == ()


def test_overlap_is_judged_in_bins() -> None:
    assert trials([(0.0, 0.104), (0.096, 0.2)]) == [(0.0, 0, 10), (0.096, 10, 10)]


def test_a_dropped_occurrence_hides_no_other() -> None:
    chain = [(0.0, 0.1), (0.06, 0.16), (0.12, 0.22)]
    assert trials(chain) == [(0.0, 0, 10), (0.12, 12, 10)]


def test_no_occurrences() -> None:
    assert trials([]) == []


@pytest.mark.parametrize("bound", [0, 1])
def test_an_occurrence_without_a_bound_is_left_out_and_noted(bound: int) -> None:
    bounds = [[0.0, 0.1], [0.2, 0.3], [0.4, 0.5]]
    bounds[1][bound] = np.nan
    found = place([(start, end) for start, end in bounds])
    assert found.onsets.tolist() == [0.0, 0.4]
    assert found.left_out == ("1 occurrence left out: without a start or an end",)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("bound", [0, 1])
def test_an_infinite_bound_is_refused(bound: int, value: float) -> None:
    bounds = [[0.0, 0.1], [0.2, 0.3]]
    bounds[1][bound] = value
    with pytest.raises(ValueError, match=f"past bin {MAX_BINS}"):
        trials([(start, end) for start, end in bounds])


@pytest.mark.parametrize("bounds", [(0.2, 0.2), (0.2, 0.204), (0.204, 0.2)])
def test_an_occurrence_without_bins_is_no_trial_and_hides_none(
    bounds: tuple[float, float],
) -> None:
    found = place([(0.0, 0.1), bounds, (0.2, 0.3)])
    assert found.onsets.tolist() == [0.0, 0.2]
    assert found.left_out == ()


def test_an_epoch_may_have_no_trial_at_all() -> None:
    found = place([(0.2, 0.2), (np.nan, 0.1)])
    assert len(found) == found.stop == 0
    assert found.left_out == ("1 occurrence left out: without a start or an end",)


def test_an_epoch_may_not_end_past_the_longest_recording() -> None:
    end = MAX_BINS / FS
    assert trials([(0.0, end)]) == [(0.0, 0, MAX_BINS)]
    for bounds in ((0.0, end + 0.1), (end + 0.1, end + 0.2)):
        with pytest.raises(ValueError, match=f"past bin {MAX_BINS}"):
            trials([bounds])


@pytest.mark.parametrize("bounds", [(-0.1, 0.1), (0.2, 0.1)])
def test_an_epoch_begins_in_the_recording_and_ends_after_it_begins(
    bounds: tuple[float, float],
) -> None:
    with pytest.raises(ValueError, match="starts before 0 or ends before it starts"):
        trials([(0.0, 0.1), bounds])


def test_an_epoch_that_begins_before_0_by_less_than_half_a_bin_begins_at_0() -> None:
    assert trials([(-0.004, 0.1)]) == [(-0.004, 0, 10)]


# The spikes of a trial


def test_several_spikes_in_one_bin_count_up() -> None:
    assert counts([0.021, 0.005, 0.025, 0.029], [(0.0, 0.04)]) == [[1, 0, 3, 0]]


def test_a_spike_belongs_to_a_trial_by_its_bin() -> None:
    before_onset, after_onset = [0.201], [0.2065]
    assert counts(before_onset, [(0.204, 0.224)]) == [[1, 0]]  # but in the first bin
    assert counts(after_onset, [(0.206, 0.226)]) == [[0, 0]]  # but before the first bin
    before_end, after_end = [0.2235], [0.2265]
    assert counts(before_end, [(0.2, 0.224)]) == [[0, 0]]  # but past the last bin
    assert counts(after_end, [(0.2, 0.226)]) == [[0, 0, 1]]  # but in the last bin


def test_a_border_between_touching_trials_is_the_second_ones() -> None:
    assert counts([0.25], [(0.23, 0.25), (0.25, 0.27)]) == [[0, 0], [1, 0]]


def test_trials_in_any_order_overlapping_or_empty() -> None:
    first, sizes = np.array([4, 2, 3, 0]), np.array([2, 3, 0, 1])
    flat = count_spikes(np.array([2, 4, 4, 5, 6]), first, sizes)
    assert flat.tolist() == [2, 1, 1, 0, 2, 0]


def test_several_bins_make_one_count_from_the_trials_first_bin_on() -> None:
    spikes = np.array([2, 3, 5, 5, 8, 9, 11, 12])
    first, n_counts = np.array([3, 0]), np.array([3, 2])
    flat = count_spikes(spikes, first, n_counts, width=3)
    assert flat.tolist() == [3, 1, 2, 1, 3]  # bins 3-5, 6-8, 9-11 and 0-2, 3-5


def test_no_spikes_and_no_trials() -> None:
    assert counts([], [(0.0, 0.02)]) == [[0, 0]]
    assert counts([0.1], []) == []


def test_ranges() -> None:
    starts, sizes = np.array([7, 0, 3, 9, 3]), np.array([2, 0, 3, 0, 1])
    assert ranges(starts, sizes).tolist() == [7, 8, 3, 4, 5, 3]
    assert ranges(starts[:0], sizes[:0]).tolist() == []


# All of it at once: a reference with loops, and invariances

RATES = st.sampled_from([100.0, 1000.0, 1.0, 44.1])
# Halves of a bin at 100 Hz are edges and ties; the others lie anywhere.
TIMES = st.integers(-20, 300).map(lambda half: half / 200) | st.floats(-0.1, 1.5)
BOUNDS = st.lists(
    st.tuples(TIMES.map(abs), TIMES.map(abs)).map(lambda pair: (min(pair), max(pair))), max_size=8
)


def slow_trials(bounds: Bounds, fs: float) -> list[tuple[float, int, int]]:
    kept: list[tuple[float, int, int]] = []
    free = 0  # the first bin after the last trial kept
    for start, end in sorted(bounds):
        first, stop = round(start * fs), round(end * fs)  # Python, too, rounds half to even
        if stop > first >= free:
            kept.append((start, first, stop - first))
            free = stop
    return kept


def slow_counts(times: Sequence[float], bounds: Bounds, fs: float) -> list[list[int]]:
    spikes = [math.floor(time * fs) for time in times]
    return [
        [spikes.count(bin_) for bin_ in range(first, first + size)]
        for _, first, size in slow_trials(bounds, fs)
    ]


@settings(max_examples=200, deadline=None)
@given(BOUNDS, RATES)
def test_trials_agree_with_the_reference(bounds: Bounds, fs: float) -> None:
    assert trials(bounds, fs) == slow_trials(bounds, fs)


@settings(max_examples=200, deadline=None)
@given(st.lists(TIMES), st.integers(0, 200), RATES)
def test_bins_agree_with_the_reference(times: list[float], n_bins: int, fs: float) -> None:
    expected = sorted(math.floor(time * fs) for time in times)
    assert bins(times, n_bins, fs) == [each for each in expected if 0 <= each < n_bins]


@settings(max_examples=200, deadline=None)
@given(st.lists(TIMES), BOUNDS, st.sampled_from([100.0, 1.0, 44.1]))
def test_counts_agree_with_the_reference(times: list[float], bounds: Bounds, fs: float) -> None:
    assert counts(times, bounds, fs) == slow_counts(times, bounds, fs)


@settings(max_examples=100, deadline=None)
@given(st.lists(TIMES), BOUNDS, st.integers(1, 10))
def test_wide_counts_are_sums_of_narrow_ones(
    times: list[float], bounds: Bounds, width: int
) -> None:
    placed = [(first, size // width) for _, first, size in slow_trials(bounds, FS)]
    first, sizes = np.array(placed, np.int64).reshape(-1, 2).T
    spikes = np.array(bins(times, n_bins=1000), np.int64)
    narrow = count_spikes(spikes, first, sizes * width)
    wide = count_spikes(spikes, first, sizes, width)
    assert wide.tolist() == narrow.reshape(-1, width).sum(axis=1).tolist()


@settings(max_examples=100, deadline=None)
@given(st.data(), st.lists(TIMES), BOUNDS)
def test_the_order_of_spikes_and_of_rows_does_not_matter(
    data: st.DataObject, times: list[float], bounds: Bounds
) -> None:
    shuffled = data.draw(st.permutations(times)), data.draw(st.permutations(bounds))
    assert trials(shuffled[1]) == trials(bounds)
    assert counts(*shuffled) == counts(times, bounds)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8))
def test_ranges_are_concatenated(pairs: list[tuple[int, int]]) -> None:
    starts, sizes = np.array(pairs, np.int64).reshape(-1, 2).T
    each: list[NDArray[np.int64]] = [np.arange(start, start + size) for start, size in pairs]
    assert ranges(starts, sizes).tolist() == np.concatenate([[], *each]).tolist()
