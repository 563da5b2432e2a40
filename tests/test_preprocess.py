"""The papers' preprocessing against loops in float64, on arrays and on data of both corpora."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, IterableDataset, load_dataset
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from builders.errors import CorpusError
from builders.metrics import cell_quality
from builders.population import Population
from builders.preprocess import BandScaler, CellScaler, log_compress, smooth
from builders.rows import read_table
from builders.stimuli import with_stimuli
from tests.conftest import run_python

STIMULI = [("wingert2026", "stimuli"), ("nat4", "stimuli")]
RECORDS = [("wingert2026", "CLT027c"), ("nat4", "A1")]

finite = st.floats(-1e3, 1e3, width=32)


def stimulus(*bands: list[float], **columns: Any) -> dict[str, Any]:
    return {"stim": "s", "subset": "est", "spectrogram": list(bands), **columns}


def record(cell: str, *trials: list[float], **columns: Any) -> dict[str, Any]:
    return {"cell_id": cell, "subset": "est", "response": list(trials), **columns}


def rows(*found: dict[str, Any]) -> Dataset:
    return Dataset.from_list(list(found))


# Log compression.


@pytest.mark.parametrize("offset", [-1, 0, -2.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_compression_of_arrays_and_tensors(offset: float, dtype: Any) -> None:
    x = np.array([[0, 1e-9, 1e-4], [0.1, 1, 1e4]], dtype)
    d = 10**offset
    expected = [[math.log1p(float(value) / d) for value in row] for row in x]
    expected[1] = [math.log((float(value) + d) / d) for value in x[1]]
    for given_x in (x, torch.tensor(x)):
        found: Any = log_compress(given_x, offset)
        assert type(found) is type(given_x)
        array = np.asarray(found)
        assert array.dtype == dtype
        np.testing.assert_allclose(array, expected, rtol=1e-12 if dtype is np.float64 else 4e-7)


def test_the_papers_offset_is_the_default() -> None:
    x = np.linspace(0, 5, 50)
    np.testing.assert_allclose(log_compress(x), np.log(10 * x + 1), rtol=1e-12)


def test_torch_is_not_imported_for_arrays() -> None:
    code = """
    import sys
    import numpy as np
    from builders.preprocess import BandScaler, CellScaler, log_compress, smooth
    bands = BandScaler((0.0,), (1.0,))
    bands.scale(log_compress(np.ones((1, 3), np.float32)))
    bands({"spectrogram": [[1.0, 2.0]]})
    CellScaler({"a": (0.0, 1.0)}).scale(smooth(np.ones((1, 3))), "a")
    print("torch" in sys.modules)
    """
    assert run_python(code, USE_TORCH="0").split() == ["False"]


# Scaling by hand.


def test_bands_by_hand() -> None:
    """log(10 x + 1) of x = 0, 0.1, 0.3 is 0, 1, 2 times log 2."""
    scaler = BandScaler.fit(
        rows(stimulus([0.1, 0.3, 0.1], [0.7, 0.7, 0.7]), stimulus([0.3], [0.7]))
    )
    assert scaler.low == pytest.approx([math.log(2), math.log(8)])
    assert scaler.high == pytest.approx([math.log(4), math.log(8)])
    assert scaler.offset == -1
    found = scaler.scale(np.array([[0.1, 0.3, 0.7, 0.0, np.nan], [0.7, 9.0, 0.0, np.nan, 0.7]]))
    expected = [[0, 1, 2, 0, np.nan], [0, 0, 0, np.nan, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_is_below_a_millionth_is_zero() -> None:
    scaler = BandScaler((0.0,), (math.log(11),))
    x = np.array([[0.9e-6, 1.1e-6, 1.0, -0.05]]) * math.log(11) / 10
    x[0, 2] = 1.0
    found = scaler.scale(x)
    assert found[0, 0] == found[0, 3] == 0
    assert found[0, 1] == pytest.approx(1.1e-6, rel=1e-3)
    assert found[0, 2] == 1


def test_cells_by_hand() -> None:
    scaler = CellScaler.fit(
        rows(
            record("a", [1, 3], [2, 5]),
            record("b", [4, 4, 4]),
            record("a", [0.5], [2, 3, 4]),
            record("c", [math.nan, math.nan]),
            record("d", [math.nan, 2, 6], []),
            record("d", []),
        )
    )
    assert scaler.extremes == {"a": (0.5, 5), "b": (4, 4), "d": (2, 6)}
    found = scaler.scale(np.array([[0.5, 5, math.nan], [9.5, 2.75, 0.5]], np.float32), "a")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[0, 1, math.nan], [2, 0.5, 0]])
    np.testing.assert_array_equal(scaler.scale(np.array([4.0, 0, 7]), "b"), [0, 0, 0])


def test_trials_of_unequal_length_are_scaled_one_by_one() -> None:
    scaler = CellScaler({"a": (0.0, 2.0)})
    trials = [[1.0, math.nan, 4.0], [2.0]]
    data = rows(record("a", *trials), record("a", *trials[:1]))
    for form in (None, "numpy", "torch"):
        for found in (
            scaler(data.with_format(form)[0])["response"],
            scaler(data.with_format(form)[:])["response"][0],
        ):
            first, second = found
            assert "float32" in str(first.dtype)
            np.testing.assert_array_equal(first, [0.5, math.nan, 2])
            np.testing.assert_array_equal(second, [1])
    stream = data.to_iterable_dataset()
    for found in (
        data.map(scaler),
        data.map(scaler, batched=True),
        Dataset.from_list(list(stream.map(scaler, features=data.features)), data.features),
        Dataset.from_list(list(stream.map(scaler, batched=True)), data.features),
    ):
        assert str(found[0]["response"]) == "[[0.5, nan, 2.0], [1.0]]"
        assert str(found[1]["response"]) == "[[0.5, nan, 2.0]]"


def test_spectrograms_of_any_length_are_scaled() -> None:
    data = rows(stimulus([0.1, 0.3, 0.1], [0.0, 0.7, 0.0]), stimulus([], []), stimulus([0.2], [1]))
    scaler = BandScaler.fit(data)
    assert scaler == BandScaler.fit(data.select([0, 2]))
    for form in (None, "numpy", "torch"):
        found = scaler(data.with_format(form)[:])["spectrogram"]
        assert [tuple(each.shape) for each in found] == [(2, 3), (2, 0), (2, 1)]
        assert tuple(scaler(data.with_format(form)[1])["spectrogram"].shape) == (2, 0)
        np.testing.assert_allclose(found[0], [[0, 1, 0], [0, math.log(8) / math.log(11), 0]], 1e-6)


def test_missing_and_infinite_values_do_not_count() -> None:
    damaged = [math.nan, 0.2, math.inf, 0.1, None]
    bands = BandScaler.fit(rows(stimulus(damaged), stimulus([math.nan, math.inf])))
    assert (bands.low[0], bands.high[0]) == pytest.approx((math.log(2), math.log(3)))
    cells = CellScaler.fit(rows(record("a", damaged)))
    assert cells.extremes == {"a": (0.1, 0.2)}


# Which rows count.


def test_only_est_counts_unless_told_otherwise() -> None:
    """A value far out in a row of val leaves every fit alone."""
    est, val = {"subset": "est"}, {"subset": "val"}
    stimuli = [stimulus([0.1, 0.3], **est), stimulus([0.0, 1e6], **val), stimulus([0.2], **est)]
    records = [record("a", [1, 3], **est), record("a", [0, 1e6], **val), record("v", [1], **val)]
    for data in mixtures(stimuli):
        assert BandScaler.fit(data).high == pytest.approx([math.log(4)])
        assert BandScaler.fit(data, subset="val").high == pytest.approx([math.log(1e7 + 1)])
        assert BandScaler.fit(data, subset=None).low == (0,)
    for data in mixtures(records):
        assert CellScaler.fit(data).extremes == {"a": (1, 3)}
        assert CellScaler.fit(data, subset="val").extremes == {"a": (0, 1e6), "v": (1, 1)}
        assert CellScaler.fit(data, subset=None).extremes == {"a": (0, 1e6), "v": (1, 1)}


def mixtures(found: list[dict[str, Any]]) -> list[Any]:
    """Rows of both subsets in one data set, and in a dict of splits with and without the column."""
    whole = Dataset.from_list(found)
    splits = {
        subset: Dataset.from_list([row for row in found if row["subset"] == subset])
        for subset in ("val", "est")
    }
    plain = {subset: data.remove_columns("subset") for subset, data in splits.items()}
    stream = whole.to_iterable_dataset()
    return [whole, stream, stream.map(dict), DatasetDict(splits), DatasetDict(plain)]


def test_rows_without_a_subset_all_count() -> None:
    data = rows(record("a", [1, 3]), record("a", [7])).remove_columns("subset")
    assert CellScaler.fit(data).extremes == {"a": (1, 7)}


# Data sets of both corpora.


def stacked(data: Any, column: str) -> list[Any]:
    return [np.asarray(row[column], np.float64) for row in data.with_format("numpy")]


@pytest.mark.parametrize(("name", "config"), STIMULI)
def test_spectrograms_as_the_papers_scale_them(home: Path, name: str, config: str) -> None:
    data = load_dataset(f"./{name}", config)
    est = [np.log((x + 0.1) / 0.1) for x in stacked(data["est"], "spectrogram")]
    scaler = BandScaler.fit(data)
    bands = range(len(est[0]))
    low = [min(float(x[band].min()) for x in est) for band in bands]
    high = [max(float(x[band].max()) for x in est) for band in bands]
    assert scaler.low == pytest.approx(low, abs=1e-6)
    assert scaler.high == pytest.approx(high, rel=1e-6)
    scaled = data.with_transform(scaler)
    for subset in ("est", "val"):
        for row, x in zip(scaled[subset], stacked(data[subset], "spectrogram"), strict=True):
            expected = np.log((x + 0.1) / 0.1)
            for band in bands:
                expected[band] = (expected[band] - low[band]) / (high[band] - low[band])
            expected[expected < 1e-6] = 0
            assert row["spectrogram"].dtype == np.float32
            np.testing.assert_allclose(row["spectrogram"], expected, atol=2e-6)
    est_scaled = np.concatenate([row["spectrogram"] for row in scaled["est"]], axis=-1)
    np.testing.assert_array_equal(est_scaled.min(-1), 0)
    np.testing.assert_array_equal(est_scaled.max(-1), 1)


@pytest.mark.parametrize(("name", "config"), RECORDS)
def test_responses_as_the_papers_scale_them(home: Path, name: str, config: str) -> None:
    data = load_dataset(f"./{name}", config)
    values: dict[str, list[float]] = {}
    for row in data["est"]:
        for trial in row["response"]:
            values.setdefault(row["cell_id"], []).extend(trial)
    scaler = CellScaler.fit(data)
    assert scaler.extremes == {cell: (min(x), max(x)) for cell, x in values.items()}
    scaled = data.with_transform(scaler)["val"]
    for raw, row in zip(data["val"], scaled, strict=True):
        low, high = scaler.extremes[raw["cell_id"]]
        expected = [
            [(x - low) / (high - low) if high > low else 0 for x in trial]
            for trial in raw["response"]
        ]
        assert row["response"].dtype == np.float32
        np.testing.assert_allclose(row["response"], expected, rtol=2e-7)
        assert {**row, "response": raw["response"]} == raw


@pytest.mark.parametrize(("name", "config"), STIMULI + RECORDS)
def test_streams_fit_and_scale_alike(home: Path, name: str, config: str) -> None:
    """Mapped and streamed, whole, by split, and in another order; rows, batches and formats."""
    kind: Any = BandScaler if config == "stimuli" else CellScaler
    column = "spectrogram" if config == "stimuli" else "response"
    data = load_dataset(f"./{name}", config)
    stream = load_dataset(f"./{name}", config, streaming=True)
    scaler = kind.fit(data)
    for same in (
        stream,
        data["est"],
        stream["est"],
        data["est"].shuffle(seed=0),
        data["est"].with_format("torch"),
        stream["est"].with_format("numpy"),
    ):
        assert kind.fit(same) == scaler
    expected = [row[column] for row in data["val"].with_transform(scaler)]
    features = stream["val"].features
    for way in (
        stream["val"].map(scaler),
        stream["val"].map(scaler, features=features).with_format("numpy"),
        stream["val"].map(scaler, batched=True, batch_size=3),
        stream["val"].with_format("numpy").map(scaler),
        stream["val"].with_format("numpy").map(scaler, batched=True, batch_size=3),
        stream["val"].map(scaler).with_format("torch"),
        map(scaler, data["val"].with_format("numpy")),
        map(scaler, data["val"].with_format("torch")),
    ):
        found = [row[column] for row in way]
        assert len(found) == len(expected)
        for x, y in zip(found, expected, strict=True):
            assert str(x.dtype).endswith("float32")
            np.testing.assert_allclose(np.asarray(x), y, atol=3e-7)
    refit = kind.fit(stream["est"].map(scaler))
    if isinstance(refit, CellScaler):
        assert {low for low, _ in refit.extremes.values()} == {0}
        assert {high for _, high in refit.extremes.values()} <= {0, 1}


def test_batches_keep_the_type_they_came_in() -> None:
    scaler = CellScaler({"a": (0.0, 2.0), "b": (1.0, 5.0)})
    batch = {"cell_id": ["a", "b"], "response": [torch.ones(2, 3), torch.ones(1, 4)], "x": [1, 2]}
    found = scaler(batch)
    assert [tuple(x.shape) for x in found["response"]] == [(2, 3), (1, 4)]
    assert found["response"][0].equal(torch.full((2, 3), 0.5))
    assert found["response"][1].equal(torch.zeros(1, 4))
    assert found["x"] == [1, 2]
    assert batch["response"][0].equal(torch.ones(2, 3))
    bands = BandScaler((0.0, 0.0), (1.0, 1.0))
    stack = torch.rand(5, 2, 7)
    for x, y in zip(bands({"spectrogram": stack})["spectrogram"], bands.scale(stack), strict=True):
        assert x.equal(y)
    assert bands({"spectrogram": []})["spectrogram"] == []


# JSON.


@given(st.lists(st.tuples(finite, finite), min_size=1), finite)
def test_band_scalers_survive_json_exactly(pairs: list[tuple[float, float]], x: float) -> None:
    low, high = zip(*pairs, strict=True)
    scaler = BandScaler(low, high, offset=x)
    assert BandScaler.from_json(scaler.to_json()) == scaler


@given(st.dictionaries(st.text(), st.tuples(st.floats(-1e300, 1e300), finite)))
def test_cell_scalers_survive_json_exactly(cells: dict[str, tuple[float, float]]) -> None:
    scaler = CellScaler(cells)
    again = CellScaler.from_json(scaler.to_json())
    assert again == scaler
    assert again.to_json() == scaler.to_json()


def test_json_of_something_else_says_so() -> None:
    bands, cells = BandScaler((0.0,), (1.0,)).to_json(), CellScaler({"a": (0.0, 1.0)}).to_json()
    for kind, texts in (
        (BandScaler, ["", "[1]", "{}", cells, bands.replace("[1.0]", "[]")]),
        (CellScaler, ["", "[1]", "{}", bands, cells.replace(", 1.0", "")]),
    ):
        for text in texts:
            with pytest.raises(CorpusError, match=f"cannot read a {kind.__name__} from JSON"):
                kind.from_json(text)


# Smoothing.


def hann_weights(window: float, dt: float) -> dict[int, float]:
    """The Hann window's area within each bin, by summing it at 100,000 points."""
    weights: dict[int, float] = {}
    for i in range(100_000):
        t = window * ((i + 0.5) / 100_000 - 0.5)
        bin_ = math.floor(t / dt + 0.5)
        weights[bin_] = weights.get(bin_, 0) + 1 + math.cos(2 * math.pi * t / window)
    return weights


def slow_smooth(row: Any, weights: dict[int, float]) -> list[float]:
    found = []
    for t, value in enumerate(row):
        inside = {k: w for k, w in weights.items() if 0 <= t + k < len(row)}
        inside = {k: w for k, w in inside.items() if not math.isnan(row[t + k])}
        total = sum(w * row[t + k] for k, w in inside.items())
        found.append(math.nan if math.isnan(value) else total / sum(inside.values()))
    return found


@pytest.mark.parametrize(
    ("window", "dt"), [(21, 10), (21, 1), (21, 5), (30, 10), (9, 10), (100, 10)]
)
def test_smoothing_is_a_hann_windows_area(window: float, dt: float) -> None:
    response = np.random.default_rng(0).poisson(1, (2, 3, 40)).astype(float)
    response[0, 1, 30:] = math.nan
    response[1, 2, [0, 7, 9]] = math.nan
    found = smooth(response, window, dt)
    weights = hann_weights(window, dt)
    expected = [[slow_smooth(trial, weights) for trial in cell] for cell in response]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_smoothing_is_not_spoilt_by_what_was_not_recorded() -> None:
    trials = [[1.0, 2, math.nan, 0, 4, math.inf, 1], [3.0, 1]]
    found = smooth(trials)
    weights = hann_weights(21, 10)
    padded = [[math.nan if x == math.inf else x for x in trials[0]], [3.0, 1, *[math.nan] * 5]]
    expected = [slow_smooth(trial, weights) for trial in padded]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.isfinite(found).sum() == 7


def test_the_kernel_of_21_ms_at_10_ms() -> None:
    side = 0.5 - 5 / 21 - math.sin(2 * math.pi * 5 / 21) / (2 * math.pi)
    spike = smooth([0.0, 0, 0, 1, 0, 0, 0])
    assert spike == pytest.approx([0, 0, side, 1 - 2 * side, side, 0, 0], abs=1e-15)
    assert spike.round(3).tolist() == [0, 0, 0.103, 0.794, 0.103, 0, 0]
    edge = smooth([1.0, 0, 0])
    assert edge == pytest.approx([(1 - 2 * side) / (1 - side), side, 0])


def test_21_ms_at_1_ms_is_the_usual_window() -> None:
    spike = np.zeros(41)
    spike[20] = 1
    window = np.hanning(23)[1:-1]
    np.testing.assert_allclose(smooth(spike, 21, 1)[10:31], window / window.sum(), atol=0.01)


@given(
    arrays(np.float32, array_shapes(min_dims=1, max_dims=3), elements=finite),
    st.floats(1, 100),
)
def test_smoothing_keeps_shape_type_range_and_constants(response: Any, window: float) -> None:
    found = smooth(response, window)
    assert (found.shape, found.dtype) == (response.shape, np.float32)
    slack = 1e-5 * np.abs(response).max(initial=1)
    assert (found >= response.min(-1, keepdims=True) - slack).all()
    assert (found <= response.max(-1, keepdims=True) + slack).all()
    constant = np.full_like(response, 3)
    np.testing.assert_allclose(smooth(constant, window), constant, rtol=1e-6)


def test_smoothing_reverses_with_time_and_takes_counts() -> None:
    response = np.random.default_rng(1).integers(0, 5, (3, 50))
    assert smooth(response).dtype == np.float64
    np.testing.assert_allclose(smooth(response[:, ::-1]), smooth(response)[:, ::-1])
    assert smooth(response[:, 5:45]).sum() == pytest.approx(response[:, 5:45].sum(), rel=0.05)


# Errors.


def test_errors_name_what_is_wrong_and_what_to_do() -> None:
    est = rows(record("a", [1, 3]))
    one, two = stimulus([0.1]), stimulus([0.1], [0.2])
    bands, cells = BandScaler((0.0,), (1.0,)), CellScaler({"a": (0.0, 1.0)})
    stream = IterableDataset.from_generator(lambda: iter([one]))
    for call, message in (
        (lambda: cells.scale(np.ones(3), "b-1"), r"'b-1' was not in the fit, of 1 .*\n.*filter"),
        (lambda: cells({"cell_id": "a"}), "without the column 'response'"),
        (lambda: cells({"response": [[1.0]]}), "without the column 'cell_id'"),
        (lambda: bands(stimulus([1], [1, 2])), "unequal lengths"),
        (lambda: bands.scale(np.ones((2, 7))), r"its shape is \(2, 7\), the fit had 1 bands"),
        (lambda: bands.scale(np.ones(7)), r"its shape is \(7,\)"),
        (lambda: BandScaler.fit(rows(one, two)), r"number of bands: \[1, 2\]"),
        (lambda: BandScaler.fit(rows(*[one] * 70, two)), r"number of bands: \[1, 2\]"),
        (lambda: BandScaler.fit(rows(stimulus([0.1], [math.nan]))), r"no finite value .* \[1\]"),
        (lambda: BandScaler.fit(est), "no column spectrogram\n.*columns are cell_id"),
        (lambda: CellScaler.fit(stream), "no column cell_id, response\n.*columns are stim"),
        (lambda: CellScaler.fit(est, subset="val"), "no rows of the subset 'val'"),
        (lambda: CellScaler.fit(DatasetDict(train=est)), r"the splits 'train'\n.*data\['est'\]"),
        (lambda: CellScaler.fit([1, 2]), "a list is not a data set\n.*load_dataset"),
        (lambda: CellScaler.fit(rows({"cell_id": "a", "response": "x"})), "type is string"),
        (lambda: smooth([1.0], window_ms=0), "a window of 0 ms"),
        (lambda: smooth([1.0], dt_ms=-1), "bins of -1 ms"),
    ):
        with pytest.raises(CorpusError, match=message):
            call()


@pytest.mark.parametrize(
    "use",
    [
        lambda records, stimuli: with_stimuli(records, with_transform(stimuli)),
        lambda records, stimuli: with_stimuli(records, DatasetDict(est=with_transform(stimuli))),
        lambda records, stimuli: with_stimuli(with_transform(records), stimuli),
        lambda records, stimuli: with_stimuli(
            records.to_iterable_dataset(), with_transform(stimuli)
        ),
        lambda records, stimuli: Population(records, with_transform(stimuli)),
        lambda records, stimuli: Population(with_transform(records), stimuli),
        lambda records, stimuli: BandScaler.fit(with_transform(stimuli)),
        lambda records, stimuli: CellScaler.fit(DatasetDict(est=with_transform(records))),
        lambda records, stimuli: cell_quality(with_transform(records)),
        lambda records, stimuli: read_table(with_transform(records), ["response"]),
    ],
)
def test_values_are_never_read_past_a_transform(home: Path, use: Any) -> None:
    records = load_dataset("./nat4", "ARM029a", split="est")
    stimuli = load_dataset("./nat4", "stimuli", split="est")
    with pytest.raises(CorpusError, match=r"has a transform\n[^$]*use data.map"):
        use(records, stimuli)


def with_transform(data: Dataset) -> Dataset:
    return data.with_transform(lambda batch: batch)


def test_a_scaler_that_is_mapped_reaches_the_join_and_the_population(home: Path) -> None:
    """As the docs say: `map` before a join."""
    records = load_dataset("./nat4", "ARM029a", split="est")
    stimuli = load_dataset("./nat4", "stimuli", split="est")
    bands, cells = BandScaler.fit(stimuli), CellScaler.fit(records)
    row = records[0]
    released = next(each for each in stimuli if each["stim_id"] == row["stim_id"])
    expected = bands.scale(np.array(released["spectrogram"], np.float32))
    assert expected.max() <= 1 < np.max(released["spectrogram"])
    joined = with_stimuli(records.map(cells), stimuli.map(bands))
    assert np.array_equal(joined.with_format("numpy")[0]["spectrogram"], expected)
    assert np.array_equal(joined[0]["response"], cells(row)["response"])
    population = Population(records.map(cells), stimuli.map(bands))
    items = [each for each in population if each["stim_id"] == row["stim_id"]]
    assert np.array_equal(items[0]["spectrogram"].numpy(), expected)
