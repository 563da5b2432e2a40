"""A population made of a stream: the items of `Population`, without a copy of the records."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset, DatasetDict, IterableDataset
from numpy.typing import NDArray

from builders.population import Covered
from builders.ragged import matrices, n_columns, padded

#: Records that are read at once.
BATCH_RECORDS = 1000

#: A stimulus as one site heard it: the rows of its cells, and their responses, which are padded.
_Part = tuple[list[int], NDArray[np.float32]]


class StreamedPopulation(Covered, torch.utils.data.IterableDataset[dict[str, Any]]):
    """The items of a `Population`, made of a stream.

    Records are ordered by site, but an item has the cells of all sites. So responses are kept until
    they take `most_waiting` bytes; then an item is made, of a random one of these stimuli and of
    all sites that it waits from. An item that is made before all sites are read lacks some of its
    cells, and further items of its stimulus have them: each record comes once in a pass. The more
    may wait, the fewer are the items, and the better mixed.

    The stream is read through once ahead, to find `cells` and `stimuli`; these and `present` and
    `select` are as in a `Population`.

    Parameters
    ----------
    records : IterableDataset
        Such as ``load_dataset(corpus, config, split="est", streaming=True)``.
    stimuli : Dataset or DatasetDict
        As of `Population`.
    most_waiting : int
        In bytes, for each worker of a `DataLoader`. Of nat4, all stimuli of PEG take 140 MB.
    seed : int
        Of the order of the items, which is another one in each pass. Workers of a `DataLoader`
        follow the seed of torch instead; each reads sites of its own.

    Raises
    ------
    CorpusError
        As `Population`.
    """

    def __init__(
        self,
        records: IterableDataset,
        stimuli: Dataset | DatasetDict,
        most_waiting: int = 256 << 20,
        seed: int = 0,
    ) -> None:
        super().__init__(records, stimuli)
        names = ["stim_id", "cell_id", "response"]
        self._records = records.select_columns(names).with_format("arrow")
        self._most_waiting = most_waiting
        self._seed, self._n_passes = seed, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Items as `Population` has them; see there. R and T are the largest in each item."""
        # A worker of a `DataLoader` is a copy made for one pass; torch gives each its own seed.
        worker = torch.utils.data.get_worker_info()
        order = random.Random(worker.seed if worker else f"{self._seed}, pass {self._n_passes}")
        self._n_passes += 1
        waiting: dict[str, list[_Part]] = {}
        n_bytes = 0
        for stim_id, part in self._parts():
            waiting.setdefault(stim_id, []).append(part)
            n_bytes += part[1].nbytes
            while n_bytes > self._most_waiting:
                chosen = order.choice([*waiting])
                n_bytes -= sum(response.nbytes for _, response in waiting[chosen])
                yield self._item_of(chosen, waiting.pop(chosen))
        rest = [*waiting]
        order.shuffle(rest)
        for stim_id in rest:
            yield self._item_of(stim_id, waiting.pop(stim_id))

    def _item_of(self, stim_id: str, parts: list[_Part]) -> dict[str, Any]:
        cells, responses = zip(*parts, strict=True)
        return self._item(stim_id, chain(*cells), [*chain(*responses)])

    def _parts(self) -> Iterator[tuple[str, _Part]]:
        """The records, put together where a site's records of a stimulus follow each other."""
        last = None
        for table in self._tables():
            table = pa.concat_tables([last, table]) if last else table
            runs = pc.run_end_encode(table["stim_id"].combine_chunks())
            starts = [0, *runs.run_ends.to_pylist()]
            for start, end in pairwise(starts[:-1]):
                yield _part(table.slice(start, end - start))
            last = table.slice(starts[-2])  # the next table may go on with it
        if last:
            yield _part(last)

    def _tables(self) -> Iterator[pa.Table]:
        """The records of these cells and stimuli; a column ``cell`` has the row in `cells`."""
        records = self._records
        if worker := torch.utils.data.get_worker_info():
            if worker.id >= records.num_shards:
                return
            n_shards = min(worker.num_workers, records.num_shards)
            records = records.shard(n_shards, worker.id)
        cells, stimuli = self.cells["cell_id"], self.stimuli["stim_id"]
        for table in records.iter(BATCH_RECORDS):
            table = table.append_column("cell", pc.index_in(table["cell_id"], value_set=cells))
            is_chosen = pc.is_in(table["stim_id"], value_set=stimuli)
            if len(table := table.filter(pc.and_(is_chosen, pc.is_valid(table["cell"])))):
                yield table


def _part(table: pa.Table) -> tuple[str, _Part]:
    """The records of one stimulus, and its ``stim_id``."""
    responses = [matrix for chunk in table["response"].chunks for matrix in matrices(chunk)]
    # A copy, since each of them would keep the memory of its whole table.
    copied = padded(responses, max(map(n_columns, responses)), np.nan)
    return table["stim_id"][0].as_py(), (table["cell"].to_pylist(), copied)
