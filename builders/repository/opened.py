"""Open files of ``corpus://``, with what fsspec and its caches ask of them."""

from __future__ import annotations

import io
import os
from pathlib import Path


class _Named:
    """What fsspec and its caches ask of a file besides reading it."""

    blocksize = 1 << 22
    path: str

    @property
    def closed(self) -> bool:
        """Whether the file is closed. fsspec sets it when it has closed the file, to no effect."""
        return bool(super().closed)  # type: ignore[misc]

    @closed.setter
    def closed(self, value: bool) -> None:
        pass


class ShardFile(_Named, io.BufferedReader):
    """An open shard."""

    def __init__(self, path: str, file: Path) -> None:
        super().__init__(io.FileIO(file))
        self.path = path

    @property
    def size(self) -> int:
        """Bytes of the shard."""
        return os.fstat(self.fileno()).st_size

    def _fetch_range(self, start: int, end: int) -> bytes:
        self.seek(start)
        return self.read(end - start)


class CardFile(_Named, io.BytesIO):
    """The card as an open file."""

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(content)
        self.path = path

    @property
    def size(self) -> int:
        """Bytes of the card."""
        return self.getbuffer().nbytes

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.getvalue()[start:end]
