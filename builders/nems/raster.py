"""A rasterized signal's CSV: one row per bin, one column per channel, parsed block by block.

The CSV of a population recording has 1.9 GB. At most one block of it is in memory as text. The
values are kept compressed, counts as bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from builders.texts import MISSING
from builders.threads import Threads, made_ahead

# Bytes of text: of a block, and of many lines of any numbers, which suits pyarrow.
RASTER_BLOCK, NUMBERS_BLOCK = 1 << 20, 1 << 23
#: How many blocks are inflated before they are parsed.
BLOCKS_AHEAD = 2
#: Limits: bytes of a line, columns, values; the largest published raster has 22 kB, 849, 76 M.
MAX_LINE, MAX_WIDTH, MAX_RASTER_VALUES = 1 << 20, 1 << 14, 1 << 28
# How the format's writer prints 0 (`%.18e`); counts from 1 to 9 differ only in the first byte.
ZERO = b"0.000000000000000000e+00"

#: Values of a raster; as bytes if all of them are counts below 10.
Values = NDArray[np.float32 | np.uint8]

#: Without a frame, whose header and checksums take time for each small piece.
LZ4 = "lz4_raw"

_INFLATING = Threads(2)  # one for each building thread


@dataclass(frozen=True)
class Packed:
    """Values that are compressed in memory."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.float32 | np.uint8]
    content: bytes

    @classmethod
    def of(cls, values: Values) -> Packed:
        return cls(values.shape, values.dtype, pa.compress(values, LZ4, asbytes=True))

    def values(self) -> Values:
        content = pa.decompress(self.content, self.size * self.dtype.itemsize, LZ4)
        return np.frombuffer(content, self.dtype).reshape(self.shape)

    @property
    def size(self) -> int:
        """How many values there are."""
        return math.prod(self.shape)


class Raster:
    """The values of a rasterized signal, compressed in memory.

    Parameters
    ----------
    text : binary file
        The CSV; read to its end.

    Attributes
    ----------
    width : int
        Number of columns.

    Raises
    ------
    ValueError
        If a row has another number of columns than the first row, or a value is not a number, or a
        limit is exceeded: `MAX_LINE`, `MAX_WIDTH` or `MAX_RASTER_VALUES`.
    """

    def __init__(self, text: IO[bytes]) -> None:
        self.width = 0
        self._n_bins = 0
        self._packed: list[Packed] = []
        others = bytearray()  # lines that hold more than counts below 10
        for lines in _whole_lines(text):
            if not self.width:
                self.width = lines.partition(b"\n")[0].count(b",") + 1
                if self.width > MAX_WIDTH:
                    raise ValueError(f"{self.width} columns; {MAX_WIDTH} is the limit")
            counts = _parse_counts(lines, self.width)
            if counts is None:
                others += lines
            if others and (counts is not None or len(others) > NUMBERS_BLOCK):
                self._pack(_parse_numbers(others, self.width))
                others = bytearray()
            if counts is not None:
                self._pack(counts)
        if others:
            self._pack(_parse_numbers(others, self.width))

    def _pack(self, values: Values) -> None:
        self._n_bins += len(values)
        if self._n_bins * self.width > MAX_RASTER_VALUES:
            raise ValueError(f"more than {MAX_RASTER_VALUES} values")
        self._packed.append(Packed.of(values))

    def blocks(self) -> Iterator[Values]:
        """The values in blocks of bins, (C, t) each, in time order."""
        return (packed.values().T for packed in self._packed)


def _whole_lines(text: IO[bytes]) -> Iterator[bytes]:
    """A text in blocks of about `RASTER_BLOCK` bytes; each ends at the end of a line.

    pyarrow's own streaming reader is not used: it reads ahead, which takes too much memory.
    """
    rest = b""
    blocks = iter(lambda: text.read(RASTER_BLOCK), b"")
    with closing(made_ahead(blocks, _INFLATING, BLOCKS_AHEAD)) as inflated:
        for block in inflated:
            end = block.rfind(b"\n") + 1
            if end:
                yield rest + block[:end]
            rest = block[end:] if end else rest + block
            if len(rest) > MAX_LINE:
                raise ValueError(f"a line of more than {MAX_LINE} bytes")
    if rest:
        yield rest


def _parse_counts(lines: bytes, width: int) -> NDArray[np.uint8] | None:
    """The (t, C) values of some lines if all values are counts below 10; else None.

    Most responses are. Their text is a grid of tokens of equal length. Checking the grid as a whole
    is ten times faster than parsing number by number.
    """
    line = _zeros(width)
    n_bins, rest = divmod(len(lines), len(line))
    if rest:
        return None
    zeroed = bytearray(lines)
    digits = np.frombuffer(zeroed, np.uint8)[:: len(ZERO) + 1]
    counts = digits - ord("0")
    digits[:] = ord("0")
    if counts.max() > 9 or zeroed != line * n_bins:
        return None
    return counts.reshape(n_bins, width)


@cache
def _zeros(width: int) -> bytes:
    return b",".join([ZERO] * width) + b"\n"


def _parse_numbers(lines: bytearray, width: int) -> NDArray[np.float32]:
    """The (t, C) values of some lines of any numbers."""
    names = [str(channel) for channel in range(width)]
    table = pyarrow.csv.read_csv(
        pa.BufferReader(lines),
        read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=len(lines) + 1),
        # With a single column, an empty line is a missing value.
        parse_options=pyarrow.csv.ParseOptions(ignore_empty_lines=width > 1),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.float64()), null_values=sorted(MISSING)
        ),
    )
    return np.column_stack([column.to_numpy().astype(np.float32) for column in table.columns])
