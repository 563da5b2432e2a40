"""The datasets of an HDF5 file, which is trusted in nothing that it says of itself.

HDF5 lets names, and values, refer to any file of the machine, and a few bytes stand for any size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import h5py
import numpy as np
from isal import igzip_lib, isal_zlib
from numpy.typing import NDArray

#: Values of a dataset, or of one of its chunks; the largest published raster has 76 million.
MAX_VALUES = 1 << 27
#: What reading a file can end in.
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
    """A dataset at the root whose values are in this file, numbers, and not too many to be read.

    Parameters
    ----------
    file : h5py.File
        The file.
    name : str
        The dataset's name.
    kinds : str
        Letters of numpy for the kinds of numbers that are expected.

    Raises
    ------
    KeyError, ValueError
        If there is no such dataset.
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


def line_of_values(found: h5py.Dataset, content: bytes) -> Callable[[], NDArray[Any]]:
    """How to get the values of a `dataset`, as one axis, as HDF5 reads them.

    What gzip alone has packed, ISA-L inflates where it lies in the file, in two thirds of the time
    that HDF5 takes. It verifies each chunk's checksum, too. HDF5 lets one thread in at a time; the
    function that is returned has no need of it, so that two datasets can be inflated at once.

    Parameters
    ----------
    found : h5py.Dataset
        The dataset.
    content : bytes
        The file that it is in.

    Returns
    -------
    callable
        Gives the values. It raises `ValueError` or `isal.igzip_lib.IsalError` if a chunk is
        damaged, or has not the size that it should have.
    """
    if _is_only_gzipped(found):
        (length,), (step,) = found.shape, found.chunks
        chunks = [found.id.get_chunk_info_by_coord((at,)) for at in range(0, length, step)]
        if not any(chunk.filter_mask for chunk in chunks):  # the filters that were left out
            places = [(chunk.byte_offset, chunk.size) for chunk in chunks]
            return partial(_inflated, content, places, step, found.dtype, length)
    values = read_values(found).reshape(-1)
    return lambda: values


def read_values(found: h5py.Dataset) -> NDArray[Any]:
    """The values of a `dataset`, as HDF5 reads them.

    Raises
    ------
    ValueError
        If a chunk has fewer values than it should have: HDF5 gives any bytes for the rest.
    """
    if found.chunks:
        filters = found.id.get_create_plist()
        codes = [filters.get_filter(i)[0] for i in range(filters.get_nfilters())]
        size = math.prod(found.chunks) * found.dtype.itemsize
        for i in range(found.id.get_num_chunks()):
            _check_chunk(found, found.id.get_chunk_info(i), codes, size)
    return np.asarray(found)


def _check_chunk(found: h5py.Dataset, chunk: Any, codes: list[int], size: int) -> None:
    """Undo the filters of a chunk as far as they change how many bytes it has."""
    mask, content = found.id.read_direct_chunk(chunk.chunk_offset)
    for i, code in reversed([*enumerate(codes)]):
        if mask >> i & 1:  # the filter was left out when the chunk was written
            continue
        if code == h5py.h5z.FILTER_FLETCHER32:
            content = content[:-4]
        elif code == h5py.h5z.FILTER_DEFLATE:
            content = isal_zlib.decompressobj().decompress(content, size + 4)
        elif code != h5py.h5z.FILTER_SHUFFLE:  # HDF5's own check must do
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
    """Whether all values are there, packed by gzip and nothing else, and laid out as in numpy."""
    if found.ndim != 1:
        return False
    filters = found.id.get_create_plist()
    if filters.get_nfilters() != 1 or filters.get_filter(0)[0] != h5py.h5z.FILTER_DEFLATE:
        return False
    # Whether places count from the file's start or from a user block's end, versions differ in.
    if h5py.h5i.get_file_id(found.id).get_create_plist().get_userblock():
        return False
    is_whole = found.id.get_num_chunks() == -(-found.shape[0] // found.chunks[0])
    return bool(is_whole and found.id.get_type().equal(h5py.h5t.py_create(found.dtype)))
