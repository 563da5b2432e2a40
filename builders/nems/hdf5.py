"""Safe reading of datasets from an HDF5 file that is not trusted.

In HDF5, names and values can refer to any file of the machine, and a few bytes can state any size.
"""

from __future__ import annotations

import math
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
#: Errors that reading a file can raise.
BAD_HDF5 = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    MemoryError,
    ArithmeticError,
    RuntimeError,
    igzip_lib.IsalError,
)


def dataset(file: h5py.File, name: str, kinds: str = "fiu") -> h5py.Dataset:
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
    link = file.get(name, getlink=True)
    if link is None:
        raise KeyError(f"no dataset {name}")
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} is a link that leads elsewhere")
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise ValueError(f"{name} holds no array")
    if found.is_virtual or found.external:
        raise ValueError(f"the values of {name} lie in another file")
    if found.dtype.kind not in kinds:
        raise ValueError(f"{name} holds {found.dtype}, which are no numbers")
    if max(math.prod(found.shape), math.prod(found.chunks or ())) > MAX_VALUES:
        of = f"shape {found.shape} in chunks of {found.chunks}"
        raise ValueError(f"{name} has {of}; {MAX_VALUES} values is the limit")
    return found


def line_of_values(found: h5py.Dataset, content: bytes) -> NDArray[Any]:
    """The values of a `dataset`, along one axis, as HDF5 reads them.

    If gzip is the only filter, ISA-L inflates the chunks directly from the file's bytes, in two
    thirds of the time that HDF5 takes, while other threads can call HDF5. It verifies each chunk's
    checksum, too.

    Parameters
    ----------
    found : h5py.Dataset
        The dataset.
    content : bytes
        The bytes of the file that holds the dataset.

    Raises
    ------
    ValueError, isal.igzip_lib.IsalError
        If a chunk is damaged or has the wrong size.
    """
    with phil:
        chunks = []
        if _is_only_gzipped(found):
            (length,), (step,) = found.shape, found.chunks
            chunks = [found.id.get_chunk_info_by_coord((at,)) for at in range(0, length, step)]
    if chunks and not any(chunk.filter_mask for chunk in chunks):  # bits of filters not applied
        places = [(chunk.byte_offset, chunk.size) for chunk in chunks]
        return _inflated(content, places, step, found.dtype, length)
    return read_values(found).reshape(-1)


def read_values(found: h5py.Dataset) -> NDArray[Any]:
    """The values of a `dataset`, as HDF5 reads them.

    Raises
    ------
    ValueError
        If a chunk has fewer values than it should have: HDF5 would return arbitrary bytes for the
        missing ones.
    """
    if found.chunks:
        filters = found.id.get_create_plist()
        codes = [filters.get_filter(i)[0] for i in range(filters.get_nfilters())]
        size = math.prod(found.chunks) * found.dtype.itemsize
        with phil:
            n_chunks = found.id.get_num_chunks()
        for i in range(n_chunks):
            _check_chunk(found, i, codes, size)
    return np.asarray(found)


def _check_chunk(found: h5py.Dataset, number: int, codes: list[int], size: int) -> None:
    """Raise if a chunk has the wrong size; undoes only the filters that change its size."""
    with phil:
        chunk = found.id.get_chunk_info(number)
        mask, content = found.id.read_direct_chunk(chunk.chunk_offset)
    for i, code in reversed([*enumerate(codes)]):
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


def _is_only_gzipped(found: h5py.Dataset) -> bool:
    """Whether no chunk is missing, gzip is the only filter, and the layout is numpy's."""
    if found.ndim != 1:
        return False
    filters = found.id.get_create_plist()
    if filters.get_nfilters() != 1 or filters.get_filter(0)[0] != h5py.h5z.FILTER_DEFLATE:
        return False
    # With a user block, HDF5 versions differ in whether offsets count from the file's start.
    if h5py.h5i.get_file_id(found.id).get_create_plist().get_userblock():
        return False
    is_whole = found.id.get_num_chunks() == -(-found.shape[0] // found.chunks[0])
    return bool(is_whole and found.id.get_type().equal(h5py.h5t.py_create(found.dtype)))
