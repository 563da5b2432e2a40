"""Hands the row groups of a new shard from the thread that writes it to the one that needs them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pyarrow as pa


class Room:
    """How many bytes may still wait for their reader, of some feeds together."""

    def __init__(self, most: int) -> None:
        self._free, self._lock = most, threading.Lock()

    def take(self, n_bytes: int) -> bool:
        """Take some bytes, if there are as many."""
        with self._lock:
            is_room = n_bytes <= self._free
            self._free -= n_bytes * is_room
        return is_room

    def give_back(self, n_bytes: int) -> None:
        with self._lock:
            self._free += n_bytes


class Feed:
    """The row groups of one shard, in order, as long as there is room for them.

    No writer ever waits: from the first row group on that finds no room, all must be read from the
    file. Iterating gives the row groups as they come, until the writer or `stop` says that there
    are no more.

    Attributes
    ----------
    is_whole : bool
        Whether iterating gave all row groups of a shard that was written to its end.
    """

    def __init__(self, room: Room) -> None:
        self.is_whole = False
        self._room, self._is_cut = room, False
        self._tables: SimpleQueue[pa.Table | None] = SimpleQueue()

    def put(self, table: pa.Table) -> None:
        """Take a row group that was written."""
        self._is_cut = self._is_cut or not self._room.take(table.nbytes)
        if not self._is_cut:
            self._tables.put(table)

    def end(self) -> None:
        """Say that the shard is written."""
        self.is_whole = not self._is_cut
        self.stop()

    def stop(self) -> None:
        """Say that nothing more will come, for whatever reason."""
        self._tables.put(None)

    def __iter__(self) -> Iterator[pa.Table]:
        while (table := self._tables.get()) is not None:
            yield table
            self._room.give_back(table.nbytes)
