"""Scores of predictions: against slow second implementations, and what is refused."""

from __future__ import annotations

import csv
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, Features, List, Value

from builders.ceilings import MOST_HALVES, single_trial_correlation, split_half_correlation
from builders.errors import CorpusError
from builders.metrics import normalized_correlation
from builders.ragged import Floats
from builders.scoring import NORMALIZED, SOURCES, Convention, read_predictions, score
from tests.conftest import REPOSITORY

FEATURES = Features(
    {
        **{name: Value("string") for name in ("stim_id", "cell_id", "area")},
        "auditory": Value("bool"),
        "response": List(List(Value("float32"))),
    }
)
CONVENTIONS: list[Convention] = ["schoppe", "hsu", "nems"]


def simulated(
    rng: np.random.Generator, n_trials: int, bins: list[int], noise: float
) -> tuple[list[Floats], list[Floats]]:
    """The signal of each stimulus, and trials of it: signal and noise have the powers 1, noise."""
    signals = [np.sqrt(2) * np.sin(2 * np.pi * np.arange(n) / 25 + rng.random()) for n in bins]
    trials = [s + rng.normal(0, np.sqrt(noise), (n_trials, len(s))) for s in signals]
    return signals, trials


# -- The slow way, bin by bin and pair by pair -----------------------------------------------------


def pearson(x: list[float], y: list[float]) -> float:
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if np.isfinite(a) and np.isfinite(b)]
    xs, ys = ([pair[axis] for pair in pairs] for axis in (0, 1))
    if len(set(xs)) < 2 or len(set(ys)) < 2:
        return float("nan")
    return float(np.corrcoef(xs, ys)[0, 1])


def joined(
    predictions: list[Floats], responses: list[Floats]
) -> tuple[list[float], list[list[float]]]:
    n_trials = min(len(response) for response in responses)
    predicted: list[float] = []
    trials: list[list[float]] = [[] for _ in range(n_trials)]
    for prediction, response in zip(predictions, responses, strict=True):
        for t in range(len(prediction)):
            if np.isfinite(prediction[t]):
                predicted.append(float(prediction[t]))
                for trial in range(n_trials):
                    trials[trial].append(float(response[trial][t]))
    return predicted, trials


def mean_of(trials: list[list[float]]) -> list[float]:
    means = []
    for values in zip(*trials, strict=True):
        there = [value for value in values if np.isfinite(value)]
        means.append(sum(there) / len(there) if there else float("nan"))
    return means


def slow_nems(predictions: list[Floats], responses: list[Floats]) -> float:
    predicted, trials = joined(predictions, responses)
    single = [pearson(predicted, trial) for trial in trials]
    pairs = [pearson(a, b) for a, b in combinations(trials, 2)]
    zeroed = [[0.0 if np.isnan(value) else value for value in each] for each in (single, pairs)]
    return float(np.mean(zeroed[0]) / np.sqrt(max(np.mean(zeroed[1]), 0.01)))


def slow_hsu(predictions: list[Floats], responses: list[Floats]) -> float:
    """With all ways to cut the trials: for 8 trials or fewer."""
    _, trials = joined(predictions, responses)
    even = trials[: len(trials) // 2 * 2]
    halves = []
    for chosen in combinations(range(len(even)), len(even) // 2):
        if 0 in chosen:
            others = [trial for trial in range(len(even)) if trial not in chosen]
            first, second = ([even[trial] for trial in half] for half in (chosen, others))
            halves.append(pearson(mean_of(first), mean_of(second)))
    cc_half = float(np.mean(halves))
    every_mean = [mean_of(response.tolist()) for response in responses]
    raw = pearson([x for p in predictions for x in p.tolist()], [y for m in every_mean for y in m])
    return raw / np.sqrt(2 / (1 + np.sqrt(1 / cc_half**2)))


def slow_schoppe(predictions: list[Floats], responses: list[Floats]) -> float:
    """Of stimuli with equally many trials, in which nothing is missing: the published formula."""
    predicted, trials = joined(predictions, responses)
    n, mean = len(trials), mean_of(trials)
    of_sum = np.var([n * each for each in mean])
    signal_power = (of_sum - sum(np.var(trial) for trial in trials)) / (n * (n - 1))
    covariance = np.cov(predicted, mean, ddof=0)[0, 1]
    return float(covariance / np.sqrt(np.var(predicted) * signal_power))


@pytest.mark.parametrize("n_trials", [2, 3, 6])
@pytest.mark.parametrize("seed", range(4))
def test_fast_and_slow_agree(n_trials: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    signals, whole = simulated(rng, n_trials, [40, 60], noise=2)
    predictions = [signal + rng.normal(0, 0.5, len(signal)) for signal in signals]
    # Of one stimulus: of several, `builders.metrics` joins no trials, as its own tests say.
    for prediction, trials in zip(predictions, whole, strict=True):
        assert normalized_correlation([prediction], [trials]) == pytest.approx(
            slow_schoppe([prediction], [trials])
        )
    # One stimulus has a trial more; a trial ends early; a bin is missing, one has no prediction.
    ragged = [np.vstack([whole[0], whole[0][:1] + 1]), whole[1].copy()]
    ragged[1][1, 50:] = np.nan
    ragged[0][0, 3] = np.inf
    predictions[0][7] = np.nan
    for trials in (whole, ragged):
        assert split_half_correlation(predictions, trials) == pytest.approx(
            slow_hsu(predictions, [np.where(np.isfinite(each), each, np.nan) for each in trials])
        )
        assert single_trial_correlation(predictions, trials) == pytest.approx(
            slow_nems(predictions, trials)
        )


@pytest.mark.filterwarnings("error")
def test_a_trial_without_spikes_or_data_counts_as_no_correlation() -> None:
    rng = np.random.default_rng(0)
    signals, trials = simulated(rng, 4, [80], noise=1)
    trials[0][2], trials[0][3] = 0, np.nan
    assert single_trial_correlation(signals, trials) == pytest.approx(slow_nems(signals, trials))
    noise = [rng.normal(size=(4, 80))]
    found = single_trial_correlation(signals, noise)
    assert found == pytest.approx(slow_nems(signals, noise))
    assert abs(found) < 10 * 0.2  # not divided by the root of less than 0.01


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_signal_itself_scores_1_and_half_of_it_less(convention: Convention) -> None:
    """In each convention, whatever the noise: this is what they are for."""
    rng = np.random.default_rng(0)
    for noise in (0.5, 4.0):
        full, half = [], []
        for _ in range(20):
            signals, trials = simulated(rng, 20, [500] * 4, noise)
            full.append(float(NORMALIZED[convention](signals, trials)))
            # Half of its power is the signal's.
            other = [s + rng.normal(0, 1, len(s)) for s in signals]
            half.append(float(NORMALIZED[convention](other, trials)))
        assert np.mean(full) == pytest.approx(1, abs=0.01)
        assert np.mean(half) == pytest.approx(np.sqrt(0.5), abs=0.02)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_one_trial_gives_no_normalised_score(convention: Convention) -> None:
    signals, trials = simulated(np.random.default_rng(0), 1, [50, 50], noise=1)
    assert np.isnan(NORMALIZED[convention](signals, trials))


def test_halves_of_many_trials_are_always_the_same() -> None:
    signals, trials = simulated(np.random.default_rng(0), 20, [100], noise=3)
    first, second = (split_half_correlation(signals, trials) for _ in range(2))
    assert first == second
    assert MOST_HALVES == 126
    shuffled = [each[::-1] for each in trials]
    assert split_half_correlation(signals, shuffled) == pytest.approx(first, abs=0.02)


# -- Tables ----------------------------------------------------------------------------------------


def records(n_cells: int = 3) -> Dataset:
    """Two stimuli of each cell but the last, which has one; 3 trials of 30 and 20 bins."""
    rng = np.random.default_rng(1)
    rows = []
    for cell in range(n_cells):
        for stim, n_bins in (("a", 30), ("b", 20)):
            if (cell, stim) != (n_cells - 1, "b"):
                signal = np.sin(np.arange(n_bins))
                response = [signal + rng.normal(size=n_bins) for _ in range(3)]
                response[1] = response[1][:-4]  # a trial that ended early
                flag = None if cell == 1 else cell != 2
                rows.append(
                    {"stim_id": stim, "cell_id": f"c{cell}", "area": "A1" if cell < 2 else "PEG"}
                    | {"auditory": flag, "response": response}
                )
    return Dataset.from_list(rows, FEATURES)


def predictions_of(data: Dataset) -> list[dict[str, Any]]:
    """One row per record: the sine that is the signal."""
    return [
        {
            "cell_id": row["cell_id"],
            "stim_id": row["stim_id"],
            "prediction": np.sin(np.arange(max(map(len, row["response"])))).tolist(),
        }
        for row in data
    ]


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_scores_are_those_of_each_cell_by_itself(convention: Convention) -> None:
    data = records()
    rows = predictions_of(data)
    rng = np.random.default_rng(0)
    rng.shuffle(rows)  # type: ignore[arg-type]
    found = score(data, table(rows), convention)
    assert found.told == []
    assert found.cells["cell_id"].to_pylist() == ["c0", "c1", "c2"]
    assert found.cells["n_stimuli"].to_pylist() == [2, 2, 1]
    for cell, normalized in zip(
        found.cells["cell_id"].to_pylist(),
        found.cells["normalized_correlation"].to_pylist(),
        strict=True,
    ):
        responses = []
        for row in data:
            if row["cell_id"] == cell:
                n_bins = max(map(len, row["response"]))
                padded = [list(t) + [np.nan] * (n_bins - len(t)) for t in row["response"]]
                responses.append(np.array(padded, np.float64))
        predicted = [np.sin(np.arange(each.shape[1])) for each in responses]
        assert normalized == pytest.approx(float(NORMALIZED[convention](predicted, responses)))
    assert set(NORMALIZED) == set(SOURCES) == set(CONVENTIONS)


def test_summaries_are_of_areas_and_of_the_cells_that_count() -> None:
    data = records()
    found = score(data, table(predictions_of(data)))
    raw = {row["cell_id"]: row["correlation"] for row in found.cells.to_pylist()}
    summary = {(row["area"], row["cells"]): row for row in found.summary("auditory")}
    assert [*summary] == [("A1", "auditory"), ("A1", "all"), ("PEG", "auditory"), ("PEG", "all")]
    assert summary["A1", "auditory"]["n_cells"] == 1  # the flag of the other is not known
    assert summary["A1", "auditory"]["correlation"]["mean"] == pytest.approx(raw["c0"])
    assert summary["A1", "all"]["correlation"]["mean"] == pytest.approx((raw["c0"] + raw["c1"]) / 2)
    assert summary["PEG", "auditory"]["correlation"] == {"mean": None, "median": None, "n": 0}
    assert {row["cells"] for row in found.summary()} == {"all"}


def test_cells_of_no_area_are_summarized_too() -> None:
    data = records()

    def unlabeled(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"area": None if row["cell_id"] == "c0" else row["area"]}

    given = table(predictions_of(data))
    some = score(data.map(unlabeled, features=FEATURES, keep_in_memory=True), given)
    assert {row["area"]: row["n_cells"] for row in some.summary()} == {"": 1, "A1": 1, "PEG": 1}
    none = score(data.remove_columns(["area"]), given)
    assert {row["area"]: row["n_cells"] for row in none.summary()} == {"": 3}


def test_a_cell_without_signal_is_in_no_normalised_mean() -> None:
    data = records()

    def silenced(row: dict[str, Any]) -> dict[str, Any]:
        if row["cell_id"] == "c0":
            row["response"] = [[0.0] * len(trial) for trial in row["response"]]
        return row

    found = score(data.map(silenced, keep_in_memory=True), table(predictions_of(data)))
    assert found.summary()[0]["normalized_correlation"]["n"] == 1
    assert found.told == [
        "no correlation of 1 of 3 cells: no mean counts them",
        "no normalized_correlation of 1 of 3 cells: no mean counts them",
    ]


def changed(change: str) -> list[dict[str, Any]]:
    rows = predictions_of(records())
    if change == "a cell":
        return rows[:-1]
    if change == "a record":
        return rows[1:]
    if change == "shorter":
        rows[2]["prediction"] = rows[2]["prediction"][:-1]
    if change == "longer":
        rows[2]["prediction"] = [*rows[2]["prediction"], 0.0]
    if change == "NaN":
        rows[2]["prediction"][5] = float("nan")
    if change == "infinite":
        rows[2]["prediction"][5] = float("inf")
    if change == "null":
        rows[2]["prediction"][5] = None
    if change == "other cell":
        rows.append({**rows[0], "cell_id": "c9"})
    if change == "other stimulus":
        rows.append({**rows[0], "stim_id": "z"})
    return rows


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("a cell", "1 of 3 cells have no prediction: c2"),
        ("a record", "1 of 5 records of other cells have none: c0 a"),
        ("shorter", "1 of 5 predictions have another number of bins .*: c1 a: 29 bins, not 30"),
        ("longer", "1 of 5 predictions have another number of bins .*: c1 a: 31 bins, not 30"),
        ("NaN", "1 of 5 predictions hold NaN or infinite values: c1 a"),
        ("infinite", "1 of 5 predictions hold NaN or infinite values: c1 a"),
        ("null", "1 of 5 predictions hold NaN or infinite values: c1 a"),
    ],
)
def test_what_is_incomplete_is_refused_or_told(change: str, why: str) -> None:
    data, rows = records(), changed(change)
    with pytest.raises(CorpusError, match=why):
        score(data, table(rows))
    found = score(data, table(rows), partial=True)
    assert len(found.told) == 1
    assert re.fullmatch(why, found.told[0])
    whole = score(data, table(predictions_of(data)))
    # What the change does not touch has the same scores.
    for cell in found.cells.to_pylist():
        if cell["cell_id"] not in why:
            assert cell in whole.cells.to_pylist()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("other cell", "1 predicted cells are not among the records: c9"),
        ("other stimulus", "1 predicted stimuli are not among the records: z"),
    ],
)
def test_what_is_of_no_record_is_told(change: str, why: str) -> None:
    """Such as a cell that was presented no sound of val, but is fitted with the others."""
    found = score(records(), table(changed(change)))
    assert found.told == [why]
    assert found.cells.equals(score(records(), table(predictions_of(records()))).cells)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (predictions_of(records())[:1] * 2, "1 rows are there twice, such as c0 a"),
        ([], "there is no column cell_id"),
        ([{"cell_id": None, "stim_id": "a", "prediction": [1.0]}], "none is of a cell"),
        ([{"cell_id": "c0", "stim_id": None, "prediction": None}], "none is of a cell"),
        ([{"cell_id": "x", "stim_id": "y", "prediction": [1.0]}], "none is of a cell"),
        ([{"cell_id": "c0", "stim_id": "a"}], "there is no column prediction; there are cell_id"),
        ([{"cell_id": "c0", "stim_id": "a", "prediction": "loud"}], "loud|string"),
        ([{"cell_id": "c0", "stim_id": "a", "prediction": 1.0}], "double|list"),
    ],
)
def test_what_is_no_table_of_predictions_is_always_refused(
    rows: list[dict[str, Any]], why: str, partial: bool
) -> None:
    with pytest.raises(CorpusError, match=why):
        score(records(), table(rows), partial=partial)


def test_a_table_without_rows() -> None:
    empty = table(predictions_of(records()))[:0]
    with pytest.raises(CorpusError, match="they are of no cell, no stimulus"):
        score(records(), empty)
    with pytest.raises(CorpusError, match="they are of no cell, no stimulus"):
        score(records(), empty.schema.empty_table())


def test_an_unknown_convention() -> None:
    with pytest.raises(CorpusError, match="unknown convention"):
        score(records(), table(predictions_of(records())), "schope")  # type: ignore[arg-type]


def test_any_numbers_will_do() -> None:
    """Integers, single precision, fixed sizes, large lists: whatever writes the file."""
    data = records().filter(lambda stim: stim == "a", input_columns="stim_id")
    rows = predictions_of(data)
    for row in rows:
        row["prediction"] = [round(10 * x) for x in row["prediction"]]
    expected = score(data, table(rows)).cells
    for type_ in (
        pa.list_(pa.int16()),
        pa.list_(pa.float32()),
        pa.large_list(pa.float64()),
        pa.list_(pa.float32(), 30),
    ):
        fields = {"cell_id": pa.large_string(), "stim_id": pa.string(), "prediction": type_}
        given = pa.Table.from_pylist(rows, pa.schema(fields))
        assert score(data, given).cells.equals(expected)


# -- Published results -----------------------------------------------------------------------------


def test_the_card_has_the_published_results() -> None:
    with (REPOSITORY / "nat4" / "results.csv").open(encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    card = (REPOSITORY / "nat4" / "README.md").read_text(encoding="utf-8")
    assert len(rows) == 6
    for row in rows:
        values = [row[name] for name in ("area", "model", "correlation", "normalized_correlation")]
        assert f"| {' | '.join(values)} |" in card
        assert row["source"] in card


def test_what_cannot_be_read(tmp_path: Path) -> None:
    for content in (None, b"", b"cell_id,stim_id\n"):
        path = tmp_path / "predictions.parquet"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CorpusError, match="cannot read predictions"):
            read_predictions(path)
