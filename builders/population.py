"""Populations: for each stimulus, the responses of all cells together."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, DatasetDict, IterableDataset
from numpy.typing import NDArray

from builders.coverage import Coverage, coverage
from builders.errors import CorpusError
from builders.joined import Spectrograms
from builders.ragged import Matrix, matrices, n_columns, padded, place
from builders.rows import in_arrow, require_columns
from builders.training import collate_items, first_bins

__all__ = ["Coverage", "Population", "coverage"]


def _refuse_duplicates(found: Coverage) -> None:
    pairs, first = np.unique(found.stimulus * len(found.cells) + found.cell, return_index=True)
    if len(pairs) < len(found.rows):
        twice = np.setdiff1d(found.rows, first)[0]
        stim_id = found.stimuli["stim_id"][found.stimulus[twice]]
        cell_id = found.cells["cell_id"][found.cell[twice]]
        raise CorpusError(
            "the records hold a pair of stimulus and cell more than once",
            where=f"row {twice}: stimulus {stim_id}, cell {cell_id}",
            fix="concatenate each part only once",
        )


class Covered:
    """Records whose stimuli and cells are known: what a population and a streamed one share.

    Parameters
    ----------
    records : Dataset or IterableDataset
    stimuli : Dataset or DatasetDict

    Raises
    ------
    CorpusError
        As `Population`.
    """

    def __init__(self, records: Dataset | IterableDataset, stimuli: Dataset | DatasetDict) -> None:
        require_columns(records, "stim_id", "cell_id", "response")
        found = coverage(records)
        _refuse_duplicates(found)
        self._spectrograms = Spectrograms(stimuli)
        rows = self._spectrograms.rows(found.stimuli["stim_id"].to_pylist())
        table = self._spectrograms.table[:].take(rows)
        self._cover(replace(found, stimuli=table.replace_schema_metadata()))

    def _cover(self, part: Coverage) -> None:
        self._coverage = part

    @property
    def stimuli(self) -> pa.Table:
        """One row per stimulus, in the order of the items of a `Population`.

        The columns are those of the stimuli table except the spectrogram.
        """
        return self._coverage.stimuli

    @property
    def cells(self) -> pa.Table:
        """One row per cell, in the order of the items' axis N: the columns that describe a cell."""
        return self._coverage.cells

    @property
    def present(self) -> NDArray[np.bool_]:
        """(S, N) bool: true where the cell has data for the stimulus."""
        return self._coverage.present

    def select(
        self,
        cells: Mapping[str, Any] | None = None,
        stimuli: Mapping[str, Any] | None = None,
    ) -> Self:
        """A population of the cells and stimuli that have the given values in their columns.

        The result is as if made from the matching records only; see `Coverage.select`. For other
        conditions than equality, filter a table and select by id.

        Examples
        --------
        ::

            population.select(cells={"layer": "44", "narrow": True}, stimuli={"subset": "val"})
            population.select(stimuli={"session": ["CLT027c", "CLT028c"]})
            deep = population.cells.filter(pc.field("depth") > 500)
            population.select(cells={"cell_id": deep["cell_id"].to_pylist()})
        """
        part = copy.copy(self)
        part._cover(self._coverage.select(cells, stimuli))
        return part

    def _item(
        self, stim_id: str, cells: Iterable[int], responses: Sequence[Matrix]
    ) -> dict[str, Any]:
        """An item of `Population`: of some cells' responses to a stimulus, at least one."""
        (spectrogram,) = _read(self._spectrograms.matrices, self._spectrograms.rows([stim_id]))
        n_bins = max(map(n_columns, [spectrogram, *responses]))
        shape = len(self.cells), max(map(len, responses))
        response = np.full((*shape, n_bins), np.nan, np.float32)
        for cell, matrix in zip(cells, responses, strict=True):
            place(matrix, response[cell])
        mask = np.isfinite(response)
        response[~mask] = np.nan
        return {
            "stim_id": stim_id,
            "spectrogram": torch.from_numpy(padded([spectrogram], n_bins)[0]),
            "response": torch.from_numpy(response),
            "mask": torch.from_numpy(mask),
            "stimulus_mask": first_bins(n_columns(spectrogram), n_bins),
        }


class Population(Covered, torch.utils.data.Dataset[dict[str, Any]]):
    """A torch dataset with one item per stimulus: its spectrogram and all cells' responses.

    Responses stay in the memory-mapped files of `datasets` until an item is read; the workers of a
    `DataLoader` share them. For batches, use ``collate_fn=Population.collate``.
    Stimuli are in the order of their first record, and so are cells.

    Parameters
    ----------
    records : Dataset
        Records of any config, not streamed.
    stimuli : Dataset or DatasetDict
        The stimuli of these records; more are allowed: ``load_dataset(corpus, "stimuli")``.

    Raises
    ------
    CorpusError
        If the records are streamed, lack a column, or hold the same stimulus and cell twice, or
        if a stimulus is not among `stimuli`.
    """

    def __init__(self, records: Dataset, stimuli: Dataset | DatasetDict) -> None:
        if isinstance(records, IterableDataset):
            raise CorpusError(
                "cannot make a population of a stream",
                why="a stimulus' responses are spread over it",
                fix="load the records without streaming=True: they need not fit into memory; or "
                "use builders.streamed.StreamedPopulation",
            )
        super().__init__(records, stimuli)
        self._responses = in_arrow(records).select_columns("response")

    def _cover(self, part: Coverage) -> None:
        super()._cover(part)
        # The records of stimulus i are self._records[self._starts[i] : self._starts[i + 1]].
        self._records = np.argsort(part.stimulus, kind="stable")
        counts = np.bincount(part.stimulus, minlength=len(part.stimuli))
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return len(self.stimuli)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One stimulus, with the responses of all N cells.

        R is the largest number of trials of any cell. T is the largest number of bins of the
        responses and the spectrogram; they all begin at bin 0 and are never cut. A spectrogram
        shorter than T is padded with zeros. A loss should count the bins in
        ``mask & stimulus_mask``; `builders.training.collate` explains why.

        Returns
        -------
        dict
            ``stim_id``; ``spectrogram`` (F, T) float32; ``response`` (N, R, T) float32, NaN where
            there are no data; ``mask`` (N, R, T) bool, true where there are data;
            ``stimulus_mask`` (T,) bool, true up to the end of the spectrogram.
        """
        index = range(len(self))[index]
        records = self._records[self._starts[index] : self._starts[index + 1]]
        responses = _read(self._responses, self._coverage.rows[records])
        stim_id = self.stimuli["stim_id"][index].as_py()
        return self._item(stim_id, self._coverage.cell[records], responses)

    @staticmethod
    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        """Make one batch of B items of a population, padded at the end of each axis.

        Returns
        -------
        dict
            ``spectrogram`` (B, F, T), padded with zeros; ``response`` (B, N, R, T), padded with
            NaN; ``mask`` (B, N, R, T) and ``stimulus_mask`` (B, T), padded with false; ``stim_id``,
            list of B. A key that the items lack is absent. A loss counts ``mask &
            stimulus_mask[:, None, None]``.

        Raises
        ------
        CorpusError
            If the items differ in their number of cells or bands.
        """
        return collate_items(items)


def _read(dataset: Dataset, rows: Any) -> list[Any]:
    """The matrices in some rows of an Arrow-formatted dataset with one column.

    `rows` must be ascending. Consecutive rows are read as one slice.
    """
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows):
        chunks = dataset[range(first, last + 1)].column(0).chunks
    else:  # each row is a chunk: to read so many takes longer than one copy of all
        chunks = [dataset[rows].column(0).combine_chunks()]
    return [matrix for chunk in chunks for matrix in matrices(chunk)]
