"""Open files of ``corpus://``, with what fsspec and its caches ask of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any


class _Opened:
    """What fsspec and its caches ask of a file besides reading it: path, size and parts."""

    blocksize = 1 << 22
    path: str
    size: int  # bytes

    @property
    def closed(self) -> bool:
        """Whether the file is closed. fsspec sets it after closing; that does nothing."""
        return bool(super().closed)  # type: ignore[misc]

    @closed.setter
    def closed(self, value: bool) -> None:
        pass

    def _fetch_range(self: Any, start: int, end: int) -> Any:
        self.seek(start)
        return self.read(end - start)


class ShardFile(_Opened, io.BufferedReader):
    """An open shard."""

    def __init__(self, path: str, file: Path) -> None:
        super().__init__(io.FileIO(file))
        self.path, self.size = path, file.stat().st_size


class CardFile(_Opened, io.BytesIO):
    """The card as an open file."""

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(content)
        self.path, self.size = path, len(content)
