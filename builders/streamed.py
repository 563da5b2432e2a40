"""A population made of a stream: the items of `Population`, without a copy of the records."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
import torch
from datasets import Dataset, IterableDataset
from numpy.typing import NDArray

from builders.coverage import coverage
from builders.stimuli import with_stimuli
from builders.training import collate

#: A stimulus as one site heard it: the rows of its cells, their responses, and the rest of an item.
_Part = tuple[list[int], NDArray[np.float32], dict[str, Any]]


class StreamedPopulation(torch.utils.data.IterableDataset[dict[str, Any]]):
    """The items of a `Population`, made of a stream.

    Records are ordered by site, but an item has the cells of all sites. So the records of many
    stimuli are kept until there are `most_waiting` of a site and a stimulus; then an item is made,
    of a random one of these stimuli and of all sites that it waits from. An item that is made
    before all sites are read lacks some of its cells, and further items of its stimulus have them:
    each record comes once in a pass. The more wait, the fewer are the items, and the better mixed.

    Parameters
    ----------
    records : IterableDataset
        Such as ``load_dataset(corpus, config, split="est", streaming=True)``.
    stimuli : Dataset
        As of `Population`.
    most_waiting : int
        A stimulus of 1.5 s, as 40 cells heard it once, takes 24 kB.
    seed : int
        Of the order of the items, which is another one in each pass. Workers of a `DataLoader`
        follow the seed of torch instead; each reads sites of its own.

    Attributes
    ----------
    cells : Table of N rows
        The axis N of every item: read from the stream once, ahead.
    """

    def __init__(
        self, records: IterableDataset, stimuli: Dataset, most_waiting: int = 4000, seed: int = 0
    ) -> None:
        self.cells = coverage(records).cells
        self._rows = {cell: row for row, cell in enumerate(self.cells["cell_id"].to_pylist())}
        self._records: Any = with_stimuli(records, stimuli).with_format("arrow")
        self._most_waiting = most_waiting
        self._random = random.Random(seed)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Items as `Population` has them; see there. R and T are the largest in each item."""
        # A worker of a `DataLoader` is a copy made for one pass; torch gives each its own seed.
        worker = torch.utils.data.get_worker_info()
        order = random.Random(worker.seed) if worker else self._random
        waiting: dict[str, list[_Part]] = {}
        n_waiting = 0
        for stim_id, part in self._parts():
            waiting.setdefault(stim_id, []).append(part)
            n_waiting += 1
            if n_waiting >= self._most_waiting:
                chosen = order.choice([*waiting])
                n_waiting -= len(waiting[chosen])
                yield self._item(chosen, waiting.pop(chosen))
        rest = [*waiting]
        order.shuffle(rest)
        for stim_id in rest:
            yield self._item(stim_id, waiting.pop(stim_id))

    def _parts(self) -> Iterator[tuple[str, _Part]]:
        for stim_id, records in groupby(self._records, lambda row: row["stim_id"][0].as_py()):
            batch = collate(list(records))
            response = batch["response"].numpy()
            response[~batch["mask"].numpy()] = np.nan
            rest = {name: batch[name][0] for name in ("spectrogram", "stimulus_mask")}
            yield stim_id, ([self._rows[cell] for cell in batch["cell_id"]], response, rest)

    def _item(self, stim_id: str, parts: list[_Part]) -> dict[str, Any]:
        n_trials, n_bins = (max(part[1].shape[axis] for part in parts) for axis in (1, 2))
        response = np.full((len(self._rows), n_trials, n_bins), np.nan, np.float32)
        for rows, of_part, _ in parts:
            response[rows, : of_part.shape[1], : of_part.shape[2]] = of_part
        longest = max(parts, key=lambda part: part[1].shape[2])
        return {
            "stim_id": stim_id,
            **longest[2],
            "response": torch.from_numpy(response),
            "mask": torch.from_numpy(np.isfinite(response)),
        }
