"""Which cells have data for which stimuli; reads the id columns only, never responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, IterableDataset
from numpy.typing import NDArray

from builders.errors import CorpusError, unknown
from builders.rows import require_columns

#: The columns that identify the stimulus of a record.
STIMULUS_COLUMNS = ("stim_id", "stim", "subset")


@dataclass(frozen=True)
class Coverage:
    """Which cells have data for which stimuli; made by `coverage`.

    S stimuli, N cells, P records.

    Attributes
    ----------
    stimuli : Table of S rows
        The columns ``stim_id``, ``stim``, ``subset``, in the order of their first record.
    cells : Table of N rows
        The columns that describe a cell (``cell_id``, ``area``, ...), in the order of their first
        record.
    rows, stimulus, cell : (P,) arrays of int64
        For each record: its row number in the dataset, the row number of its stimulus in
        `stimuli`, and the row number of its cell in `cells`.
    """

    stimuli: pa.Table
    cells: pa.Table
    rows: NDArray[np.int64]
    stimulus: NDArray[np.int64]
    cell: NDArray[np.int64]

    @property
    def present(self) -> NDArray[np.bool_]:
        """(S, N) bool: true where the cell has data for the stimulus."""
        present = np.zeros((len(self.stimuli), len(self.cells)), np.bool_)
        present[self.stimulus, self.cell] = True
        return present

    def select(
        self,
        cells: Mapping[str, Any] | None = None,
        stimuli: Mapping[str, Any] | None = None,
    ) -> Coverage:
        """Keep the records whose cell and stimulus have the given values.

        Cells without data for any chosen stimulus are dropped, and so are stimuli without data
        from any chosen cell. The order of the others stays the same.

        Parameters
        ----------
        cells, stimuli : mapping of column names to values
            For columns of the tables `cells` and `stimuli`: one value that the column must have, or
            several allowed values. None matches missing values, e.g. cells without a layer.

        Raises
        ------
        CorpusError
            If a column does not exist, a value has the wrong type, or no record is left.
        """
        of_cells = _chosen(self.cells, cells or {}, "cell column")
        of_stimuli = _chosen(self.stimuli, stimuli or {}, "stimulus column")
        kept = of_cells[self.cell] & of_stimuli[self.stimulus]
        if not kept.any():
            raise CorpusError(
                f"the selection cells={cells}, stimuli={stimuli} leaves nothing",
                why=f"of {len(of_cells)} cells it names {of_cells.sum()}, of {len(of_stimuli)} "
                f"stimuli {of_stimuli.sum()}, and there is no record of the one with the other",
                fix="look at the values in the tables .cells and .stimuli",
            )
        stimulus_rows, stimulus = np.unique(self.stimulus[kept], return_inverse=True)
        cell_rows, cell = np.unique(self.cell[kept], return_inverse=True)
        return Coverage(
            stimuli=self.stimuli.take(stimulus_rows),
            cells=self.cells.take(cell_rows),
            rows=self.rows[kept],
            stimulus=stimulus,
            cell=cell,
        )


def coverage(records: Dataset | IterableDataset) -> Coverage:
    """Find which cells have data for which stimuli; reads the id columns only, never responses.

    The responses of a map-style dataset are not read; a stream is read through once.

    Parameters
    ----------
    records : Dataset or IterableDataset
        Records of any config.

    Returns
    -------
    Coverage
        ``present`` (S, N) bool, and the tables ``stimuli`` and ``cells`` that describe its axes.

    Raises
    ------
    CorpusError
        If `records` is not a dataset, or lacks ``stim_id`` or ``cell_id``.
    """
    require_columns(records, "stim_id", "cell_id")
    schema = records.features.arrow_schema
    names = [field.name for field in schema if not pa.types.is_nested(field.type)]
    ids = records.select_columns(names).with_format("arrow")
    if isinstance(ids, Dataset):
        table = ids[:]
    else:
        table = pa.concat_tables([ids.features.arrow_schema.empty_table(), *ids.iter(1000)])
    stimuli, stimulus = _distinct(table, "stim_id")
    cells, cell = _distinct(table, "cell_id")
    of_stimulus = [name for name in STIMULUS_COLUMNS if name in names]
    return Coverage(
        stimuli=stimuli.select(of_stimulus),
        cells=cells.drop_columns(of_stimulus),
        rows=np.arange(len(table)),
        stimulus=stimulus,
        cell=cell,
    )


def _distinct(table: pa.Table, name: str) -> tuple[pa.Table, NDArray[np.int64]]:
    """The first row of each distinct value of a column; and for each row, its value's number."""
    codes = pc.index_in(table[name], value_set=table[name].unique()).to_numpy().astype(np.int64)
    return table.take(np.unique(codes, return_index=True)[1]), codes


def _chosen(table: pa.Table, selection: Mapping[str, Any], kind: str) -> NDArray[np.bool_]:
    """(rows,) bool: true where every selected column has the value, or one of the values."""
    chosen = np.ones(len(table), np.bool_)
    for name, value in selection.items():
        if name not in table.column_names:
            raise unknown(kind, name, table.column_names)
        values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
        column = table[name]
        try:
            value_set = pa.array(list(values), column.type)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise CorpusError(
                f"cannot select by {name!r}",
                why=f"{value!r} is no {column.type}: {error}",
                fix=f"give one or more of {column.unique().to_pylist()[:10]}",
            ) from None
        chosen &= pc.is_in(column, value_set=value_set).to_numpy()
    return chosen
