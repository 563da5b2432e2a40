"""Safe reading of datasets from an HDF5 file that is not trusted.

In HDF5, names and values can refer to any file of the machine, and a few bytes can state any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import h5py
import numpy as np

# HDF5 admits one thread at a time. This is the lock that h5py takes in each call; before 3.16, it
# does not take it in the calls about chunks, and two threads in them end the process.
from h5py._objects import phil
from isal import igzip_lib, isal_zlib
from numpy.typing import NDArray

#: Limit for the values of a dataset, or of one chunk; the largest published raster has 76 million.
MAX_VALUES = 1 << 27
#: The first bytes of an HDF5 file, unless a user block precedes them.
SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: Errors that reading a file can raise.
BAD_HDF5: tuple[type[Exception], ...] = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    MemoryError,
    ArithmeticError,
    RuntimeError,
    igzip_lib.IsalError,  # type: ignore[assignment]  # its stub declares an instance
)


@dataclass(frozen=True)
class StoredArray:
    """A dataset that passed the checks of `dataset`, and what HDF5 says of it.

    HDF5 is asked once: its answers take about as long as inflating a cell's spike times.

    Attributes
    ----------
    id : h5py.h5d.DatasetID
        The dataset.
    shape, chunks : tuple of int
        Of the dataset, and of a chunk; no chunks if it is stored as one block.
    dtype : numpy.dtype
        Of its values.
    filters : tuple of int
        The codes of its filters, in the order in which they were applied.
    """

    id: h5py.h5d.DatasetID
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    filters: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many values there are."""
        return math.prod(self.shape)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of the values of a chunk."""
        return math.prod(self.chunks) * self.dtype.itemsize


def dataset(file: h5py.File, name: str, kinds: str = "fiu") -> StoredArray:
    """A dataset at the root, checked: its values are numbers in this file, at most `MAX_VALUES`.

    Parameters
    ----------
    file : h5py.File
        The file.
    name : str
        The dataset's name.
    kinds : str
        The accepted kinds of numbers, as numpy's letters.

    Raises
    ------
    KeyError, ValueError
        If there is no such dataset, or it fails a check.
    """
    if "/" in name or name in ("", "."):
        raise ValueError(f"{name!r} is no name of a dataset at the root")
    link = name.encode()
    if not file.id.links.exists(link):
        raise KeyError(f"no dataset {name}")
    if file.id.links.get_info(link).type != h5py.h5l.TYPE_HARD:
        raise ValueError(f"{name} is a link that leads elsewhere")
    if h5py.h5o.get_info(file.id, link).type != h5py.h5o.TYPE_DATASET:
        raise ValueError(f"{name} holds no array")
    found = h5py.h5d.open(file.id, link)
    space, created = found.get_space(), found.get_create_plist()
    if space.get_simple_extent_type() == h5py.h5s.NULL:
        raise ValueError(f"{name} holds no array")
    layout = created.get_layout()
    if layout == h5py.h5d.VIRTUAL or created.get_external_count():
        raise ValueError(f"the values of {name} lie in another file")
    array = StoredArray(
        found,
        shape=space.get_simple_extent_dims(),
        chunks=created.get_chunk() if layout == h5py.h5d.CHUNKED else (),
        dtype=found.dtype,
        filters=tuple(created.get_filter(i)[0] for i in range(created.get_nfilters())),
    )
    if array.dtype.kind not in kinds:
        raise ValueError(f"{name} holds {array.dtype}, which are no numbers")
    if max(array.size, math.prod(array.chunks)) > MAX_VALUES:
        of = f"shape {array.shape} in chunks of {array.chunks}"
        raise ValueError(f"{name} has {of}; {MAX_VALUES} values is the limit")
    return array


def line_of_values(found: StoredArray, content: bytes) -> NDArray[Any]:
    """The values of a `dataset`, along one axis, as HDF5 reads them.

    If gzip is the only filter, ISA-L inflates the chunks directly from the file's bytes, in two
    thirds of the time that HDF5 takes, while other threads can call HDF5. It verifies each chunk's
    checksum, too.

    Parameters
    ----------
    found : StoredArray
        The dataset.
    content : bytes
        The bytes of the file that holds the dataset.

    Raises
    ------
    ValueError, isal.igzip_lib.IsalError
        If a chunk is damaged or has the wrong size.
    """
    if _is_only_gzipped(found, content):
        (length,), (step,) = found.shape, found.chunks
        with phil:
            chunks = [found.id.get_chunk_info_by_coord((at,)) for at in range(0, length, step)]
        if chunks and not any(chunk.filter_mask for chunk in chunks):  # bits of filters not applied
            places = [(chunk.byte_offset, chunk.size) for chunk in chunks]
            return _inflated(content, places, step, found.dtype, length)
    return read_values(found).reshape(-1)


def read_values(found: StoredArray) -> NDArray[Any]:
    """The values of a `dataset`, as HDF5 reads them.

    Raises
    ------
    ValueError
        If a chunk has fewer values than it should have: HDF5 would return arbitrary bytes for the
        missing ones.
    """
    if found.chunks:
        with phil:
            n_chunks = found.id.get_num_chunks()
        for i in range(n_chunks):
            _check_chunk(found, i)
    return np.asarray(h5py.Dataset(found.id))


def _check_chunk(found: StoredArray, number: int) -> None:
    """Raise if a chunk has the wrong size; undoes only the filters that change its size."""
    size = found.chunk_bytes
    with phil:
        chunk = found.id.get_chunk_info(number)
        mask, content = found.id.read_direct_chunk(chunk.chunk_offset)
    for i, code in reversed([*enumerate(found.filters)]):
        if mask >> i & 1:  # the filter was not applied to this chunk
            continue
        if code == h5py.h5z.FILTER_FLETCHER32:
            content = content[:-4]
        elif code == h5py.h5z.FILTER_DEFLATE:
            content = isal_zlib.decompressobj().decompress(content, size + 4)
        elif code != h5py.h5z.FILTER_SHUFFLE:  # an unknown filter: rely on HDF5's own check
            return
    if len(content) != size:
        raise ValueError(f"the chunk at {chunk.chunk_offset} has {len(content)} bytes, not {size}")


def _inflated(
    content: bytes, places: list[tuple[int, int]], step: int, dtype: np.dtype[Any], length: int
) -> NDArray[Any]:
    values, whole = np.empty(length, dtype), memoryview(content)
    for start, (offset, size) in zip(range(0, length, step), places, strict=True):
        stream = isal_zlib.decompressobj()
        chunk = stream.decompress(whole[offset : offset + size], step * dtype.itemsize)
        if not stream.eof or len(chunk) != step * dtype.itemsize:
            raise ValueError(f"the chunk at {start} has not {step} values")
        values[start : start + step] = np.frombuffer(chunk, dtype)[: length - start]
    return values


def _is_only_gzipped(found: StoredArray, content: bytes) -> bool:
    """Whether no chunk is missing, gzip is the only filter, and the layout is numpy's."""
    if len(found.shape) != 1 or found.filters != (h5py.h5z.FILTER_DEFLATE,):
        return False
    # HDF5 versions differ in whether offsets count from the file's start if a user block is there.
    if not content.startswith(SIGNATURE):
        return False
    with phil:
        n_chunks = found.id.get_num_chunks()
    is_whole = n_chunks == -(-found.shape[0] // found.chunks[0])
    return bool(is_whole and found.id.get_type().equal(_type_of(found.dtype)))


@cache
def _type_of(dtype: np.dtype[Any]) -> h5py.h5t.TypeID:
    """HDF5's type for values that lie on disk as in numpy's arrays."""
    return h5py.h5t.py_create(dtype)
