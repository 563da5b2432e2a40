"""Scores predictions of responses: the two numbers by which encoding models are compared.

Predictions are a table with the columns ``cell_id``, ``stim_id`` and ``prediction``, a list of T
numbers: one row for each record of ``val``. They may come from any model. `docs/scoring.md` has
the formulas, and what other groups do otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Dataset
from numpy.typing import NDArray

from builders.ceilings import single_trial_correlation, split_half_correlation
from builders.coverage import Coverage, coverage
from builders.errors import CorpusError, unknown
from builders.metrics import correlation, normalized_correlation
from builders.ragged import Floats, matrices, pad_trials, shapes
from builders.rows import in_arrow, require_columns

Convention = Literal["schoppe", "hsu", "nems"]
#: How a correlation is corrected for noise in the response, and where that stands.
NORMALIZED: dict[str, Callable[[Any, Any], Any]] = {
    "schoppe": normalized_correlation,
    "hsu": split_half_correlation,
    "nems": single_trial_correlation,
}
SOURCES = {
    "schoppe": "by signal power; Schoppe et al. 2016",
    "hsu": "by halves of the trials; Hsu, Borst & Theunissen 2004",
    "nems": "by pairs of single trials; r_ceiling of NEMS, Pennington & David 2023",
}
SCORES = ("correlation", "normalized_correlation")
#: How many names a message lists.
SHOWN = 3


@dataclass(frozen=True)
class Scores:
    """The scores of the cells of a data set.

    Attributes
    ----------
    cells : pyarrow.Table
        One row per cell with a score: the columns that describe it; ``n_stimuli``, the number of
        stimuli that were scored; ``correlation`` and ``normalized_correlation``, NaN where there
        is none.
    told : list of str
        What was left out, and what is not scored.
    """

    cells: pa.Table
    told: list[str]

    def summary(self, flag: str = "") -> list[dict[str, Any]]:
        """What the literature prints: means and medians over cells, per area.

        Parameters
        ----------
        flag : str
            A column: the cells for which it is true are summarized, too.

        Returns
        -------
        list of dict
            ``area``, "" where it is not known; ``cells``, `flag` or "all"; ``n_cells``; of each
            score, the ``mean`` and the ``median``, None without a cell, and ``n``, the number of
            cells that have it.
        """
        table = self.cells
        known = table["area"].to_pylist() if "area" in table.column_names else [None] * len(table)
        areas = pa.array([area or "" for area in known], pa.string())
        is_flagged = flag and flag in table.column_names
        found = []
        for area in sorted(areas.unique().to_pylist()):
            of_area = table.filter(pc.equal(areas, area))
            groups = {"all": of_area}
            if is_flagged:
                groups = {flag: of_area.filter(pc.equal(of_area[flag], True)), **groups}
            for name, group in groups.items():
                row: dict[str, Any] = {"area": area, "cells": name, "n_cells": len(group)}
                for score_name in SCORES:
                    values = group[score_name].to_numpy()
                    values = values[np.isfinite(values)]
                    row[score_name] = {
                        "mean": float(values.mean()) if len(values) else None,
                        "median": float(np.median(values)) if len(values) else None,
                        "n": len(values),
                    }
                found.append(row)
        return found


def read_predictions(path: Path) -> pa.Table:
    """Read a Parquet file of predictions.

    Raises
    ------
    CorpusError
        If it cannot be read.
    """
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(
            "cannot read predictions", where=path, why=error, fix="give a Parquet file"
        ) from error


def score(
    records: Dataset,
    predictions: pa.Table,
    convention: Convention = "schoppe",
    *,
    partial: bool = False,
) -> Scores:
    """Compare predictions with the responses of each cell.

    Parameters
    ----------
    records : Dataset
        The records of ``val``, not streamed; every record is to be predicted.
    predictions : pyarrow.Table
        ``cell_id``, ``stim_id`` (string) and ``prediction``: T numbers, in any unit, where T is
        the number of bins of the record's longest trial.
    convention : {"schoppe", "hsu", "nems"}
        How the correlation is normalised.
    partial : bool
        Score what is there, in spite of records, bins or values that are missing; `Scores.told`
        says how much that was. Predictions that are of no record are never scored, and told.

    Returns
    -------
    Scores

    Raises
    ------
    CorpusError
        If `predictions` is no such table, holds a pair of cell and stimulus twice, or none of the
        records; without `partial`, also if it is incomplete.
    """
    if convention not in NORMALIZED:
        raise unknown("convention", convention, NORMALIZED)
    require_columns(records, "stim_id", "cell_id", "response")
    found, given = coverage(records), _Given(predictions)
    responses = in_arrow(records).select_columns("response")
    rows, told = _matched(found, given, shapes(responses[:]["response"])[1], partial)
    scores: dict[str, list[Any]] = {name: [] for name in ("n_stimuli", *SCORES)}
    scored = []
    of_cells = np.split(
        np.argsort(found.cell, kind="stable"), np.bincount(found.cell).cumsum()[:-1]
    )
    for number, of_cell in enumerate(of_cells):
        there = of_cell[rows[of_cell] >= 0]
        if not len(there):
            continue
        scored.append(number)
        held = _responses(responses, there)
        predicted = [
            _as_long(given.values(row), response.shape[1])
            for row, response in zip(rows[there], held, strict=True)
        ]
        scores["n_stimuli"].append(len(there))
        scores["correlation"].append(float(correlation(predicted, held)))
        scores["normalized_correlation"].append(float(NORMALIZED[convention](predicted, held)))
    cells = found.cells.take(scored)
    for name, values in scores.items():
        cells = cells.append_column(name, pa.array(values))
    for name in SCORES:
        if n := int(np.isnan(scores[name]).sum()):
            told.append(f"no {name} of {n} of {len(scored)} cells: no mean counts them")
    return Scores(cells, told)


class _Given:
    """The rows of a table of predictions.

    Attributes
    ----------
    rows : dict of (str, str) to int
        Cell and stimulus -> row number.
    lengths, is_finite : (P,) arrays
        Of each row: its number of values, and whether none is missing or infinite.
    """

    def __init__(self, table: pa.Table) -> None:
        wanted = {
            "cell_id": pa.string(),
            "stim_id": pa.string(),
            "prediction": pa.list_(pa.float64()),
        }
        if lacking := [name for name in wanted if name not in table.column_names]:
            there = ", ".join(table.column_names)
            raise _wrong(f"there is no column {', '.join(lacking)}; there are {there}")
        try:
            table = table.select([*wanted]).cast(pa.schema(wanted)).combine_chunks()
        except (pa.ArrowException, ValueError) as error:
            raise _wrong(error) from error
        pairs = [*zip(table["cell_id"].to_pylist(), table["stim_id"].to_pylist(), strict=True)]
        self.rows = {pair: row for row, pair in enumerate(pairs)}
        if len(self.rows) < len(pairs):
            twice = next(pair for row, pair in enumerate(pairs) if self.rows[pair] != row)
            raise _wrong(
                f"{len(pairs) - len(self.rows)} rows are there twice, such as {_pair(twice)}"
            )
        lists = table["prediction"].fill_null([]).combine_chunks()
        self._lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
        self.lengths: NDArray[np.int64] = np.diff(self._lists.offsets.to_numpy())
        self._values: Floats = self._lists.flatten().to_numpy(zero_copy_only=False)
        self._ends = np.cumsum(self.lengths)
        is_missing = np.concatenate([[0], np.cumsum(~np.isfinite(self._values))])
        self.is_finite = is_missing[self._ends] == is_missing[self._ends - self.lengths]

    def values(self, row: int) -> Floats:
        """The prediction in a row, (T,)."""
        end = self._ends[row]
        return self._values[end - self.lengths[row] : end]


def _matched(
    found: Coverage, given: _Given, n_bins: NDArray[np.int64], partial: bool
) -> tuple[NDArray[np.int64], list[str]]:
    """The row of each record's prediction, -1 without one; and what is wrong, if it may be."""
    cells, stimuli = found.cells["cell_id"].to_pylist(), found.stimuli["stim_id"].to_pylist()
    pairs = [
        (cells[cell], stimuli[stim]) for cell, stim in zip(found.cell, found.stimulus, strict=True)
    ]
    rows = np.array([given.rows.get(pair, -1) for pair in pairs], np.int64)
    if not (rows >= 0).any():
        cell, stim = next(iter(given.rows), ("no cell", "no stimulus"))
        raise _wrong(
            f"none is of a cell and a stimulus of these records: they are of {cell}, {stim}, ..., "
            f"and the records of {cells[0]}, {stimuli[0]}, ..."
        )
    predicted = {cells[cell] for cell in found.cell[rows >= 0]}
    absent = sorted(set(cells) - predicted)
    missing = [pair for pair, row in zip(pairs, rows, strict=True) if row < 0]
    others = [pair for pair in missing if pair[0] in predicted]
    there = np.flatnonzero(rows >= 0)
    wrong = there[given.lengths[rows[there]] != n_bins[there]]
    broken = there[~given.is_finite[rows[there]]]
    problems = [
        *_problem(absent, len(cells), "cells have no prediction"),
        *_problem([*map(_pair, others)], len(pairs), "records of other cells have none"),
        *_problem(
            [f"{_pair(pairs[i])}: {given.lengths[rows[i]]} bins, not {n_bins[i]}" for i in wrong],
            len(there), "predictions have another number of bins than the response",
        ),
        *_problem(
            [_pair(pairs[i]) for i in broken], len(there), "predictions hold NaN or infinite values"
        ),
    ]  # fmt: skip
    if problems and not partial:
        raise _wrong("\n        ".join(problems))
    for axis, (what, known) in enumerate((("cells", set(cells)), ("stimuli", set(stimuli)))):
        strange = {pair[axis] for pair in given.rows} - known
        told = f"predicted {what} are not among the records"
        problems += _problem(sorted(map(str, strange)), 0, told)
    return rows, problems


def _problem(names: Sequence[str], total: int, what: str) -> list[str]:
    if not names:
        return []
    of = f" of {total}" if total else ""
    more = ", ..." if len(names) > SHOWN else ""
    return [f"{len(names)}{of} {what}: {', '.join(names[:SHOWN])}{more}"]


def _pair(pair: tuple[str, str]) -> str:
    return " ".join(map(str, pair))


def _wrong(why: object) -> CorpusError:
    return CorpusError(
        "cannot score these predictions",
        why=why,
        fix="give cell_id, stim_id and prediction (T numbers) of every record of val, once; or "
        "score what is there: --partial, partial=True",
    )


def _responses(responses: Any, rows: NDArray[np.int64]) -> list[Floats]:
    """The (R, T) responses in some rows; NaN where a trial is shorter."""
    (column,) = responses[rows].columns
    found = [matrix for chunk in column.chunks for matrix in matrices(chunk)]
    return [np.asarray(pad_trials(matrix), np.float64) for matrix in found]


def _as_long(prediction: Floats, n_bins: int) -> Floats:
    """Cut a prediction to `n_bins`, or pad it with NaN; infinite values become NaN."""
    found = np.full(n_bins, np.nan)
    found[: len(prediction)] = prediction[:n_bins]
    return np.where(np.isfinite(found), found, np.nan)
