"""Signal and noise power against planted ones, literal formulas and loops."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from datasets import Dataset, load_dataset
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from builders.errors import CorpusError
from builders.metrics import (
    cc_max,
    cell_quality,
    correlation,
    noise_power,
    normalized_correlation,
    signal_power,
    snr,
)

MEASURES = (signal_power, noise_power, snr, cc_max)


def published(trials: Any) -> tuple[float, float]:
    """Signal and noise power as Sahani & Linden 2003 print them, of (R, T) without NaN."""
    trials = [[float(value) for value in trial] for trial in trials]

    def power(x: list[float]) -> float:
        return sum((value - sum(x) / len(x)) ** 2 for value in x) / len(x)

    r = len(trials)
    mean = [sum(values) / r for values in zip(*trials, strict=True)]
    of_trials = sum(power(trial) for trial in trials) / r
    signal = (r * power(mean) - of_trials) / (r - 1)
    return signal, of_trials - signal


def measured(response: Any) -> tuple[float, float]:
    return float(signal_power(response)), float(noise_power(response))


counts = arrays(
    np.float64, st.tuples(st.integers(2, 5), st.integers(1, 8)), elements=st.integers(0, 9)
)


# One stimulus.


def test_two_trials_by_hand() -> None:
    """P(trials) = 1, 3/4; mean 0 2 0 1, P = 5/4 - 9/16 = 11/16; signal 2 x 11/16 - 7/8 = 1/2."""
    response = [[0, 2, 0, 2], [0, 2, 0, 0]]
    assert measured(response) == (0.5, 0.375)
    assert snr(response) == 4 / 3
    assert cc_max(response) == pytest.approx((0.5 / (11 / 16)) ** 0.5, rel=1e-15)
    # Cov((0 1 0 0), (0 2 0 1)) = 1/2 - 3/16, Var = 3/16: over sqrt(3/16 x 11/16), or x 1/2.
    assert correlation([0, 1, 0, 0], response) == pytest.approx(5 / 33**0.5, rel=1e-15)
    assert normalized_correlation([0, 1, 0, 0], response) == pytest.approx(
        (5 / 16) / (3 / 32) ** 0.5, rel=1e-15
    )


@given(counts)
def test_the_published_formula(response: Any) -> None:
    assert measured(response) == pytest.approx(published(response), abs=1e-9)


@pytest.mark.parametrize("trials", [2, 5, 20])
def test_the_estimates_are_unbiased(trials: int) -> None:
    """2000 cells share a signal of known power; their noise drifts and is correlated in time."""
    random = np.random.default_rng(trials)
    signal = random.gamma(0.5, 1.0, 60)
    noise = random.normal(0, 1, (2000, trials, 61))
    noise = noise[..., 1:] + noise[..., :-1] + random.normal(0, 2, (2000, trials, 1))
    found_signal, found_noise = signal_power(signal + noise), noise_power(signal + noise)
    # Variance 2, less that of the mean over time: every bin but two counts twice in its sum.
    expected_noise = 2 - (59 * 4 + 2) / 60**2
    for found, expected in ((found_signal, signal.var()), (found_noise, expected_noise)):
        assert found.shape == (2000,)
        error = found.std() / 2000**0.5
        assert abs(found.mean() - expected) < 4 * error < 0.1 * expected
    if trials == 2:
        assert (found_signal < 0).any()  # and these are part of the mean above


def test_cc_max_is_the_correlation_of_the_signal_with_the_mean() -> None:
    random = np.random.default_rng(0)
    signal = random.gamma(1.0, 1.0, 20_000)
    response = random.poisson(signal, (8, 20_000))
    assert cc_max(response) == pytest.approx(np.corrcoef(signal, response.mean(0))[0, 1], abs=0.01)
    assert cc_max(response) == pytest.approx((1 / (1 + 1 / 8)) ** 0.5, abs=0.01)
    exact = np.corrcoef(signal, response.mean(0))[0, 1]
    assert correlation(signal, response) == pytest.approx(exact, rel=1e-12)
    assert normalized_correlation(signal, response) == pytest.approx(1, abs=0.01)
    half = signal + random.normal(0, signal.std(), len(signal))
    assert normalized_correlation(half, response) == pytest.approx(0.5**0.5, abs=0.02)


@given(counts, st.integers(0, 3), st.integers(0, 3))
def test_padding_changes_nothing(response: Any, trials: int, bins: int) -> None:
    padded = np.pad(response, [(0, trials), (0, bins)], constant_values=np.nan)
    prediction = np.arange(response.shape[1]) ** 2.0
    longer = np.pad(prediction, (0, bins))
    for measure in MEASURES:
        np.testing.assert_allclose(measure(padded), measure(response), rtol=1e-9, atol=1e-12)
    for compare in (correlation, normalized_correlation):
        np.testing.assert_allclose(compare(longer, padded), compare(prediction, response))


def test_trials_of_unequal_length_keep_every_bin_of_two() -> None:
    """Of 3, 2 and 1 trials: the last bin cannot count. Mean 1 2 0 | 3 1, variances by hand."""
    ragged = [[0, 2, 0, 2, 1, 9], [2, 1, 0, 4, 1], [1, 3, 0]]
    mean, variance, n = np.array([[1, 2, 0, 3, 1], [1, 1, 0, 2, 0], [3, 3, 3, 2, 2]])
    of_mean = 0.0
    for trial in ragged:
        noise = [(x - mean[t]) * (n[t] / (n[t] - 1)) ** 0.5 / n[t] for t, x in enumerate(trial[:5])]
        of_mean += (sum(noise) / 5) ** 2
    expected = mean.var() - (variance / n).mean() + of_mean
    assert signal_power(ragged) == pytest.approx(expected, rel=1e-12)
    padded = [[*trial, *[np.nan] * (6 - len(trial))] for trial in ragged]
    assert measured(padded) == measured(ragged)


def test_broken_off_trials_leave_the_estimates_unbiased() -> None:
    """Independent noise; the signal's power is that over the bins two trials reached."""
    random = np.random.default_rng(1)
    signal = np.linspace(0, 3, 50)
    response = signal + random.normal(0, 1, (4000, 4, 50))
    for trial, end in enumerate((50, 40, 35, 10)):
        response[:, trial, end:] = np.nan
    found = signal_power(response)
    assert found.mean() == pytest.approx(signal[:40].var(), abs=4 * found.std() / 4000**0.5)
    noise = noise_power(response)
    assert noise.mean() == pytest.approx(1, rel=0.04)


def test_one_trial_tells_nothing() -> None:
    for measure in MEASURES:
        assert np.isnan(measure([[0, 1, 2]]))
        assert np.isnan(measure([[0, 1, np.nan], [np.nan, np.nan, 2]]))
    assert np.isnan(normalized_correlation([0, 1, 2], [[0, 1, 2]]))
    assert correlation([0, 1, 2], [[0, 1, 2]]) == 1


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3, 1e6])
def test_a_constant_response_has_no_power(value: float) -> None:
    response = np.full((3, 7), value)
    assert measured(response) == (0, 0)
    assert np.isnan(snr(response))
    assert np.isnan(cc_max(response))
    assert np.isnan(correlation(np.arange(7), response))
    assert np.isnan(correlation(response[0], np.arange(21).reshape(3, 7)))


def test_without_noise_the_ratio_is_infinite() -> None:
    response = np.array([[0.1, 0.7, 0.3]] * 3)
    assert measured(response) == (pytest.approx(response[0].var()), 0)
    assert snr(response) == np.inf
    assert cc_max(response) == 1
    assert normalized_correlation([0.2, 1.4, 0.6], response) == pytest.approx(1)


def test_a_negative_signal_power_is_kept_and_has_no_root() -> None:
    response = [[0, 1, 0, 1], [1, 0, 1, 0]]
    assert measured(response) == (-0.25, 0.5)
    assert snr(response) == -0.5
    assert np.isnan(cc_max(response))
    assert np.isnan(normalized_correlation([0, 1, 0, 2], response))
    uncorrelated = [[0, 2, 0, 2], [0, 2, 2, 0]]
    assert measured(uncorrelated) == (0, 1)
    assert cc_max(uncorrelated) == 0
    assert np.isnan(normalized_correlation([0, 1, 0, 2], uncorrelated))


def test_a_population_is_its_cells() -> None:
    population = np.random.default_rng(2).poisson(1.0, (2, 3, 4, 50)).astype(np.float32)
    population[0, 1, 2:, 30:] = np.nan
    prediction = np.random.default_rng(3).normal(size=(2, 3, 50))
    for measure in MEASURES:
        found = measure(population)
        assert found.dtype == np.float64
        cells = [[measure(cell) for cell in row] for row in population]
        np.testing.assert_allclose(found, cells, rtol=1e-12)
    for compare in (correlation, normalized_correlation):
        pairs = zip(prediction.reshape(6, 50), population.reshape(6, 4, 50), strict=True)
        expected = [compare(x, y) for x, y in pairs]
        np.testing.assert_allclose(compare(prediction, population).ravel(), expected, rtol=1e-12)
        shared = [compare(prediction[0, 0], cell) for cell in population.reshape(6, 4, 50)]
        np.testing.assert_allclose(compare(prediction[0, 0], population).ravel(), shared)


# Several stimuli.


@given(st.integers(0, 2**32), st.integers(2, 3))
def test_stimuli_average_over_all_ways_to_join_their_trials(seed: int, trials: int) -> None:
    random = np.random.default_rng(seed)
    stimuli = [random.poisson(k + 1, (trials, 2 + k)).astype(float) for k in range(3)]
    orders = list(itertools.permutations(range(trials)))
    joined = [
        published(np.concatenate([stimuli[0], stimuli[1][list(one)], stimuli[2][list(two)]], -1))
        for one, two in itertools.product(orders, orders)
    ]
    assert measured(stimuli) == pytest.approx(tuple(np.mean(joined, axis=0)), abs=1e-9)


def test_stimuli_that_differ_in_trials_and_length_are_unbiased() -> None:
    """Much noise is shared by the bins of a trial; the means of the stimuli are signal."""
    random = np.random.default_rng(4)
    signals = [random.gamma(1, 1, 30), 2 + random.gamma(1, 1, 80), np.zeros(50)]
    response = [
        signal + random.normal(0, 1, (3000, trials, 1)) + random.normal(0, 1, (3000, trials, 1))
        for signal, trials in zip(signals, (2, 9, 4), strict=True)
    ]
    found, expected = signal_power(response), np.concatenate(signals).var()
    assert abs(found.mean() - expected) < 4 * found.std() / 3000**0.5 < 0.05 * expected
    # A trial's noise is an offset of variance 2 per stimulus: its power is that between stimuli.
    shares = np.array([30, 80, 50]) / 160
    noise = noise_power(response)
    assert abs(noise.mean() - 2 * (1 - np.square(shares).sum())) < 4 * noise.std() / 3000**0.5


def test_a_stimulus_of_one_trial_adds_nothing_to_the_powers() -> None:
    twice, once = np.array([[0, 2, 0, 2], [0, 2, 0, 0]]), np.array([[5.0, 1.0, 7.0]])
    for measure in MEASURES:
        assert measure([twice, once]) == measure([once, twice]) == measure(twice)
    prediction = [np.array([0, 1, 0, 0]), np.array([4, 1, 7])]
    both = np.concatenate([twice.mean(0), once[0]])
    assert correlation(prediction, [twice, once]) == pytest.approx(
        np.corrcoef(np.concatenate(prediction), both)[0, 1]
    )
    assert normalized_correlation(prediction, [twice, once]) == pytest.approx(
        normalized_correlation(prediction[0], twice)
    )


def test_bins_without_a_prediction_do_not_count() -> None:
    response = np.random.default_rng(5).poisson(2, (4, 30))
    prediction = response.mean(0) + np.arange(30)
    prediction[:7] = np.nan
    for compare in (correlation, normalized_correlation):
        assert compare(prediction, response) == pytest.approx(
            compare(prediction[7:], response[:, 7:])
        )


@pytest.mark.parametrize("n_bins", [0, 1, 2, 7, 8, 9, 12])
def test_only_bins_that_prediction_and_response_have_are_compared(n_bins: int) -> None:
    """As if what lies over at the end of the longer one had been cut."""
    random = np.random.default_rng(6)
    response = random.poisson(2.0, (3, 4, 8)).astype(float)  # cells, trials, bins
    prediction = random.normal(size=(3, n_bins))
    common = min(n_bins, 8)
    for compare in (correlation, normalized_correlation):
        expected = compare(prediction[:, :common], response[..., :common])
        np.testing.assert_allclose(compare(prediction, response), expected, rtol=1e-12)
        assert np.isfinite(expected).any() == (n_bins > 1)
        one = compare(prediction[0], response[0])
        np.testing.assert_allclose(one, expected[0], rtol=1e-12)
        other = random.poisson(2.0, (3, 2, 5)).astype(float)
        rate = random.normal(size=(3, 6))
        both = compare([prediction, rate], [response, other])
        cut = compare([prediction[:, :common], rate[:, :5]], [response[..., :common], other])
        np.testing.assert_allclose(both, cut, rtol=1e-12)
        assert np.isfinite(both).any()


@given(counts, st.sets(st.integers(0, 7)), st.sampled_from([np.nan, np.inf]))
def test_bins_that_were_not_recorded_are_as_if_they_were_not_there(
    response: Any, bins: set[int], nothing: float
) -> None:
    left = [bin_ for bin_ in range(response.shape[1]) if bin_ not in bins]
    partial = response.copy()
    partial[:, [bin_ for bin_ in bins if bin_ < response.shape[1]]] = nothing
    prediction = np.arange(response.shape[1]) ** 2.0
    for measure in MEASURES:
        np.testing.assert_allclose(measure(partial), measure(response[:, left]), atol=1e-12)
    for compare in (correlation, normalized_correlation):
        expected = compare(prediction[left], response[:, left])
        np.testing.assert_allclose(compare(prediction, partial), expected, atol=1e-9)


@pytest.mark.parametrize("form", [None, "numpy", "torch"])
def test_responses_as_rows_have_them(form: str | None) -> None:
    """Trials of unequal length are an array of arrays in NumPy's format, a list in torch's."""
    rows = [[[0.0, 2, 0, 2, 1], [1, 2, 0]], [[1.0, 0], [0, 0], [2, 0]]]
    data = Dataset.from_dict({"response": rows}).with_format(form)
    for measure in MEASURES:
        assert measure(data[0]["response"]) == measure(rows[0])
        assert measure(data[:]["response"]) == measure(rows)
    prediction = [[0.0, 1, 0, 1], [1.0, 0, 0]]
    for compare in (correlation, normalized_correlation):
        assert compare(prediction, data[:]["response"]) == compare(prediction, rows)


def test_what_is_no_response_says_so() -> None:
    for response in ([], [1, 2, 3], 3, ["ab"], [np.zeros((2, 2, 3)), np.zeros((3, 2, 3))]):
        with pytest.raises(CorpusError, match="cannot measure a response"):
            signal_power(response)
    for prediction, response in (
        (1.0, [[0, 1, 2]]),
        ([[0, 1]], [[0, 1, 2]]),
        ([[0, 1, 2]], [[[0, 1, 2]], [[0, 1, 2]]]),
        (np.zeros((3, 5)), np.zeros((2, 4, 5))),
    ):
        with pytest.raises(CorpusError, match=r"predictions' shapes are .*, the mean responses'"):
            correlation(prediction, response)


# Data sets.

CONFIGS = [("wingert2026", "CLT027c"), ("wingert2026", "A1"), ("nat4", "A1")]


@pytest.mark.parametrize(("name", "config"), CONFIGS)
@pytest.mark.parametrize("streaming", [False, True])
def test_cells_are_measured_in_one_pass(home: Any, name: str, config: str, streaming: bool) -> None:
    data = load_dataset(f"./{name}", config, split="val", streaming=streaming)
    responses = defaultdict(list)
    for row in load_dataset(f"./{name}", config, split="val").with_format("numpy"):
        responses[row["cell_id"]].append(np.asarray(row["response"], np.float64))
    quality = cell_quality(data).to_pydict()
    assert quality["cell_id"] == list(responses)
    assert quality["n_stimuli"] == [len(cell) for cell in responses.values()]
    assert quality["n_trials"] == [sum(map(len, cell)) for cell in responses.values()]
    for measure in MEASURES:
        expected = [float(measure(cell)) for cell in responses.values()]
        np.testing.assert_allclose(quality[measure.__name__], expected, rtol=1e-9, atol=1e-12)
    rates = [
        sum(map(np.sum, cell)) / (sum(map(np.size, cell)) * 0.01) for cell in responses.values()
    ]
    np.testing.assert_allclose(quality["mean_rate"], rates, rtol=1e-12)
    assert np.isfinite(quality["signal_power"]).any()


def test_one_stimulus_with_two_trials_is_measured_as_published(home: Any) -> None:
    """CLT027c: of its two validation stimuli one was presented twice, the other once."""
    data = load_dataset("./wingert2026", "CLT027c", split="val")
    quality = cell_quality(data).to_pylist()
    twice = [row for row in data if len(row["response"]) == 2]
    assert len(quality) == len(twice) == 20
    for cell, row in zip(quality, twice, strict=True):
        assert cell["cell_id"] == row["cell_id"]
        expected = published(row["response"])
        assert (cell["signal_power"], cell["noise_power"]) == pytest.approx(expected, abs=1e-12)


def test_good_cells_are_chosen_before_loading(home: Any) -> None:
    quality = cell_quality(load_dataset("./nat4", "A1", split="val", streaming=True))
    middle = np.nanmedian(quality["snr"])
    good = quality.filter(pc.field("snr") > middle)["cell_id"].to_pylist()
    assert 0 < len(good) <= len(quality) / 2
    data = load_dataset("./nat4", "A1", split="est", filters=[("cell_id", "in", good)])
    assert set(data["cell_id"]) == set(good)


def test_rows_may_be_anything_that_has_a_cell_and_a_response() -> None:
    rows = {
        "cell_id": ["a", "b", "a", "b"],
        "response": [[[0.0, 2, 0, 2], [0, 2, 0, 0]], [[1.0]], [[1.0, 2], [3]], [[None, 4.0]]],
    }
    quality = cell_quality(Dataset.from_dict(rows)).to_pylist()
    expected = [rows["response"][0], rows["response"][2]]
    assert quality[0]["signal_power"] == pytest.approx(float(signal_power(expected)))
    assert quality[0]["mean_rate"] == pytest.approx(100 * 12 / 11)
    assert (quality[0]["n_trials"], quality[1]["n_trials"]) == (4, 2)
    assert quality[1]["mean_rate"] == pytest.approx(100 * 5 / 2)
    assert np.isnan([quality[1][name] for name in ("signal_power", "snr", "cc_max")]).all()


def test_splits_are_not_mixed(home: Any) -> None:
    with pytest.raises(CorpusError, match=r"there are 'est', 'val'\n.*records\['val'\]"):
        cell_quality(load_dataset("./nat4", "A1"))


def test_rates_follow_from_the_width_of_the_bins() -> None:
    records = Dataset.from_dict({"cell_id": ["a"], "response": [[[1.0, 0.0, 2.0, 1.0]]]})
    assert cell_quality(records)["mean_rate"].to_pylist() == [100.0]
    assert cell_quality(records, bin_ms=20.0)["mean_rate"].to_pylist() == [50.0]
