"""A corpus of hand-written recordings, and the shards that they give rise to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features

from builders import schema
from builders.conventions import Conventions
from builders.errors import RecordingError
from builders.release.local import Release
from builders.schema import CELL_ID
from builders.shards.cache import ShardCache
from builders.shards.cells import CellList, ListFile, id_columns
from builders.shards.excluded import write_excluded
from builders.shards.job import Job
from builders.shards.listed import ListedSession, places
from tests.archives import CELL, SESSION, SILENT, TILE

RECORDS, STIMULI = Features(schema.RECORDS), Features(schema.STIMULI)
EST, VAL = (f"data/A1/{SESSION}/{subset}.parquet" for subset in ("est", "val"))
TILES, VAL_TILES = (
    f"stimuli/{SESSION}/{subset}-00000-of-00001.parquet" for subset in ("est", "val")
)


def counts(*bins: int, n_bins: int = 10) -> list[float]:
    """The counts of a trial with spikes in these bins."""
    return [float(bins.count(each)) for each in range(n_bins)]


class Toy:
    """A corpus whose list names these cells, each with its area; sites are sessions.

    The archives are those that lie in the folder when a shard is asked for.
    """

    def __init__(
        self, folder: Path, areas: Mapping[str, str | None] | None = None, name: str = "toy"
    ) -> None:
        self.folder = folder
        self._cache = ShardCache(name, "code")
        self._areas = {SILENT: "A1", CELL: "A1"} if areas is None else areas

    @cached_property
    def _cells(self) -> pa.Table:
        columns = id_columns(list(self._areas))
        columns |= {"site": columns["session"], "area": pa.array(self._areas.values(), pa.string())}
        return pa.table({name: columns[name] for name in CELL_ID})

    def job(self, path: str) -> Job:
        """The job that makes a shard, as the corpus stands now."""
        kind, *names = path.split("/")
        session = names[0] if kind == "stimuli" else names[1]
        release = Release(self._cache.corpus, self.folder, "nowhere")
        listed = CellList(self._cells, [], {}, ListFile(self.folder / "cell_list.csv"))
        of = places(self._cells)
        jobs = ListedSession(
            release, session, of[session], Conventions(), "", "recordings", of, listed
        )
        if kind == "data":
            return jobs.records(RECORDS)
        return jobs.stimuli(STIMULI, len(TILE), {"est": 1, "val": 1})

    def shard(self, path: str) -> Path:
        """The file of a shard, built now if need be."""
        return self._cache.shard(self.job(path), path)

    def etag(self, path: str) -> str:
        """The ETag of a shard; opens no archive."""
        return self._cache.etag(self.job(path))

    def rows(self, path: str) -> list[dict[str, Any]]:
        """The rows of a shard."""
        rows: list[dict[str, Any]] = pq.read_table(self.shard(path)).to_pylist()
        return rows

    def responses(self, path: str) -> dict[tuple[str, str], list[list[float]]]:
        """The responses in a shard, by stimulus and cell; each pair stands there once."""
        rows = self.rows(path)
        found = {(row["stim"], row["cell_id"]): row["response"] for row in rows}
        assert len(found) == len(rows)
        return found

    def notes(self, path: str) -> list[tuple[str, str]]:
        """Subject and text of what is noted of a shard, which is built first."""
        self.shard(path)
        notes = self._cache.notes(path, self.etag(path)) or []
        assert all(note.session == self.job(path).session for note in notes)
        return [(note.subject, note.text) for note in notes]

    def refusal(self, path: str, unit: str) -> str:
        """A shard cannot be built, and the message says how to leave out what is to blame."""
        with pytest.raises(RecordingError) as caught:
            self.rows(path)
        message = str(caught.value)
        assert message.endswith(
            f'; to go on without it: builders exclude toy {unit} --because "..."'
        )
        return message

    @staticmethod
    def exclude(*units: str) -> None:
        """Leave out these and nothing else."""
        write_excluded("toy", dict.fromkeys(units, "noisy"))
