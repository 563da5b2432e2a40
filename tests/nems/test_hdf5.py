"""Spike times are read past HDF5's own zlib: the same values, and the same distrust."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from builders.nems.hdf5 import (
    BAD_HDF5,
    _is_only_gzipped,
    dataset,
    line_of_values,
    read_values,
)
from builders.validation.files import _check_chunks

TIMES = np.linspace(0, 9, 100) ** 2
Fill = Callable[[h5py.File], Any]


def file_of(fill: Fill) -> h5py.File:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        fill(file)
    return h5py.File(content, "r")


def values_of(file: h5py.File) -> NDArray[Any]:
    """The values of a file that `file_of` made."""
    return line_of_values(dataset(file, "x"), file.id.get_file_image())


def is_inflated_here(file: h5py.File) -> bool:
    return _is_only_gzipped(dataset(file, "x"), file.id.get_file_image())


def stored(data: Any = TIMES, **options: Any) -> Fill:
    return lambda file: file.create_dataset("x", data=data, **options)


def of_type(file_type: h5py.h5t.TypeID) -> Fill:
    """Values of a type that is not as wide on disk as in memory."""

    def fill(file: h5py.File) -> None:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((30,))
        made.set_deflate(1)
        space = h5py.h5s.create_simple((100,))
        found = h5py.h5d.create(file.id, b"x", file_type, space, made)
        found.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(100, dtype=np.int32))

    return fill


def test_several_threads_may_read_at_once() -> None:
    """Before h5py 3.16, this ended the process where the lock was not taken."""

    def fill(file: h5py.File) -> None:
        for name in "xyz":
            file.create_dataset(name, data=np.arange(4000.0), chunks=(10,), compression="gzip")

    def read(name: str) -> bool:
        file = file_of(fill)
        content = file.id.get_file_image()
        return all(
            np.array_equal(values, np.arange(4000.0))
            for _ in range(20)
            for array in [dataset(file, name)]
            for values in (read_values(array), line_of_values(array, content))
        )

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(read, "xyz")) == [True] * 3


def narrow_integers() -> h5py.h5t.TypeID:
    found = h5py.h5t.STD_I32LE.copy()
    found.set_precision(12)
    found.set_offset(7)
    return found


def gaps(file: h5py.File) -> None:
    found = file.create_dataset("x", (100,), "f8", chunks=(30,), compression="gzip", fillvalue=7)
    found[60:90] = TIMES[:30]


def a_chunk_that_is_not_packed(file: h5py.File) -> None:
    found = file.create_dataset("x", data=TIMES, chunks=(30,), compression="gzip")
    found.id.write_direct_chunk((30,), TIMES[:30].tobytes(), filter_mask=1)


CHUNKS = {"chunks": (30,), "compression": "gzip"}


@pytest.mark.parametrize(
    "fill",
    [
        stored(**CHUNKS),
        stored(**CHUNKS, compression_opts=0),
        stored(**CHUNKS, compression_opts=9),
        stored(chunks=(100,), compression="gzip"),
        stored(chunks=(1,), compression="gzip"),
        stored(chunks=(1000,), maxshape=(None,), compression="gzip"),
        stored(compression="gzip", data=TIMES.astype(">f8")),
        stored(compression="gzip", data=TIMES.astype(np.float32)),
        stored(compression="gzip", data=TIMES.astype(np.float16)),
        stored(compression="gzip", data=TIMES.astype(">i2")),
        stored(compression="gzip", data=TIMES.astype(np.uint64)),
        stored(np.zeros(0), compression="gzip", chunks=(1,), maxshape=(None,)),
    ],
)
def test_values_that_gzip_has_packed_are_those_that_hdf5_reads(fill: Fill) -> None:
    with file_of(fill) as file:
        assert is_inflated_here(file)
        found = values_of(file)
        assert found.dtype == file["x"].dtype
        assert found.tobytes() == file["x"][:].tobytes()


@pytest.mark.parametrize(
    "fill",
    [
        stored(),
        stored(chunks=(30,)),
        stored(**CHUNKS, shuffle=True),
        stored(**CHUNKS, fletcher32=True),
        stored(chunks=(30,), compression="lzf"),
        stored(np.arange(100), **CHUNKS, scaleoffset=0),
        stored(np.zeros(0)),
        of_type(narrow_integers()),
        gaps,
    ],
)
def test_all_others_are_left_to_hdf5(fill: Fill) -> None:
    with file_of(fill) as file:
        assert not is_inflated_here(file)
        assert values_of(file).tobytes() == file["x"][:].tobytes()


def test_a_file_that_begins_with_something_else_is_left_to_hdf5() -> None:
    content = io.BytesIO()
    with h5py.File(content, "w", userblock_size=512) as file:
        stored(**CHUNKS)(file)
    with h5py.File(content, "r") as file:
        found = dataset(file, "x")
        assert not _is_only_gzipped(found, content.getvalue())
        assert line_of_values(found, content.getvalue()).tobytes() == TIMES.tobytes()


def test_a_chunk_that_is_not_packed_is_left_to_hdf5() -> None:
    with file_of(a_chunk_that_is_not_packed) as file:
        assert values_of(file)[30:60].tolist() == TIMES[:30].tolist()


@given(
    st.lists(st.floats(width=64), max_size=200),
    st.integers(1, 70),
    st.sampled_from(["<f8", ">f8", "<f4"]),
    st.integers(0, 9),
)
def test_any_line_of_values_is_the_one_that_hdf5_reads(
    values: list[float], chunk: int, dtype: str, level: int
) -> None:
    with np.errstate(over="ignore"):
        data = np.array(values).astype(dtype)
    fill = stored(
        data, chunks=(chunk,), maxshape=(None,), compression="gzip", compression_opts=level
    )
    with file_of(fill) as file:
        assert values_of(file).tobytes() == file["x"][:].tobytes()


PACKED = zlib.compress(TIMES[:30].tobytes())


@pytest.mark.parametrize(
    ("chunk", "why"),
    [
        (PACKED[:-1] + bytes([PACKED[-1] ^ 1]), "checksum"),
        (PACKED[:20] + bytes([PACKED[20] ^ 1]) + PACKED[21:], None),
        (PACKED[:-1], "has not 30 values"),
        (PACKED[: len(PACKED) // 2], "has not 30 values"),
        (zlib.compress(TIMES[:29].tobytes()), "has not 30 values"),
        (zlib.compress(TIMES[:31].tobytes()), "has not 30 values"),
        (zlib.compress(bytes(1 << 26)), "has not 30 values"),
        (TIMES[:30].tobytes(), None),
    ],
    ids=[
        "checksum",
        "a bit",
        "cut",
        "half",
        "too few",
        "too many",
        "bomb",
        "not packed",
    ],
)
def test_a_damaged_chunk_is_refused(chunk: bytes, why: str | None) -> None:
    def fill(file: h5py.File) -> None:
        found = file.create_dataset("x", data=TIMES, **CHUNKS)
        found.id.write_direct_chunk((60,), chunk)

    with file_of(fill) as file, pytest.raises(BAD_HDF5, match=why):
        values_of(file)


# --- what is left to HDF5, which makes up what a chunk lacks


def written(chunk: bytes, mask: int = 0, **options: Any) -> Fill:
    """A dataset whose chunk at 60 holds these bytes, for which some filters were left out."""

    def fill(file: h5py.File) -> None:
        found = file.create_dataset("x", data=TIMES, **{**CHUNKS, **options})
        found.id.write_direct_chunk((60,), chunk, filter_mask=mask)

    return fill


@pytest.mark.parametrize(
    "fill",
    [
        written(PACKED, mask=1),
        written(TIMES[:29].tobytes(), mask=1),
        written(TIMES[:31].tobytes(), mask=1),
        written(zlib.compress(TIMES[:29].tobytes()), shuffle=True),
        written(zlib.compress(TIMES[:31].tobytes()), shuffle=True),
        written(zlib.compress(bytes(1 << 26)), shuffle=True),
        written(PACKED, shuffle=True, mask=2),
        written(TIMES[:29].tobytes(), shuffle=True, mask=2),
        written(PACKED[:40], shuffle=True),
    ],
)
def test_a_chunk_of_another_size_is_refused(fill: Fill) -> None:
    with file_of(fill) as file, pytest.raises(BAD_HDF5):
        values_of(file)


def test_so_is_one_of_an_array_that_no_fast_reader_takes() -> None:
    def fill(file: h5py.File) -> None:
        found = file.create_dataset("x", data=TIMES.reshape(10, 10), chunks=(5, 10), compression=1)
        found.id.write_direct_chunk((5, 0), zlib.compress(TIMES[:49].tobytes()))

    with file_of(fill) as file, pytest.raises(ValueError, match=r"at \(5, 0\) has 392 bytes, not"):
        read_values(dataset(file, "x"))


@pytest.mark.parametrize("mask", [0, 1, 2, 3])
def test_chunks_that_some_filters_were_left_out_of_are_read(mask: int) -> None:
    """The shuffle filter comes first, then gzip."""
    content = TIMES[:30].tobytes()
    if not mask & 1:
        content = np.frombuffer(content, np.uint8).reshape(30, 8).T.tobytes()
    if not mask & 2:
        content = zlib.compress(content)
    with file_of(written(content, mask, shuffle=True)) as file:
        assert values_of(file)[60:90].tolist() == TIMES[:30].tolist()


@pytest.mark.parametrize(
    "fill",
    [
        stored(),
        stored(**CHUNKS, shuffle=True, fletcher32=True),
        stored(chunks=(30,), compression="lzf"),
        stored(np.arange(100), **CHUNKS, scaleoffset=0),
        written(TIMES[:30].tobytes(), mask=3, shuffle=True),
        written(PACKED, mask=1, shuffle=True),
    ],
)
def test_the_slow_reader_checks_chunks_too_and_refuses_no_sound_one(fill: Fill) -> None:
    with file_of(fill) as file:
        _check_chunks(file["x"])
        assert len(read_values(dataset(file, "x"))) == 100
    short = written(zlib.compress(TIMES[:29].tobytes()), shuffle=True)
    with file_of(short) as file, pytest.raises(ValueError, match="a chunk has 232 bytes"):
        _check_chunks(file["x"])
