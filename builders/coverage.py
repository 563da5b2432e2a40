"""Which cells have data for which stimuli, from the columns that name them alone."""

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

#: The columns of a record that say which stimulus it belongs to.
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
        Of each record: its row in the dataset, and the rows of its stimulus and its cell in the
        tables.
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
        """What is left when records are chosen by their cells and stimuli.

        Cells without data for the stimuli chosen are left out, and so are stimuli without data
        of the cells chosen. The order stays.

        Parameters
        ----------
        cells, stimuli : mapping of column names to values
            Of the tables `cells` and `stimuli`: the value that a column must have, or several of
            which it must have one. None is a value like others: a cell without a layer has it.

        Raises
        ------
        CorpusError
            If there is no such column, a value is not of its type, or nothing is left.
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
    """Which cells have data for which stimuli, from the columns that name them alone.

    Mapped responses are not touched; a stream is read through once.

    Parameters
    ----------
    records : Dataset or IterableDataset
        Records of any config.

    Returns
    -------
    Coverage
        ``present`` (S, N) bool, and the tables ``stimuli`` and ``cells`` that name its axes.

    Raises
    ------
    CorpusError
        If `records` is no dataset, or has no ``stim_id`` or ``cell_id``.
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
    """The first row of each value of a column, and for each row the number of its value."""
    codes = pc.index_in(table[name], value_set=table[name].unique()).to_numpy().astype(np.int64)
    return table.take(np.unique(codes, return_index=True)[1]), codes


def _chosen(table: pa.Table, selection: Mapping[str, Any], kind: str) -> NDArray[np.bool_]:
    """For each row of a table: does it have the values, or one of the values, of every column?"""
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
