"""Planted faults in a signal: its HDF5, its raster, its spike times and its header."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from builders.nems import hdf5, raster
from builders.nems.recording import read_signals
from tests.archives import (
    BINS,
    CELL,
    RASTER,
    SESSION,
    SILENT,
    SPIKES,
    TILE,
    h5,
    header,
    pack,
    raster_csv,
    recording,
    signal,
)
from tests.hardening.faults import RESP_H5, STIM_H5, bins_of, changed, read, refusal, same

pytestmark = pytest.mark.usefixtures("limited_memory")

# -- HDF5 ------------------------------------------------------------------------------------------

Write = Callable[[h5py.File, str], None]


def external_link(file: h5py.File, name: str) -> None:
    file[name] = h5py.ExternalLink("/etc/hostname", "/")


def external_link_to_data(file: h5py.File, name: str) -> None:
    other = Path("other.h5").absolute()
    with h5py.File(other, "w") as there:
        there[name] = [0.05]
    file[name] = h5py.ExternalLink(str(other), name)


def external_storage(file: h5py.File, name: str) -> None:
    other = Path("other.raw").absolute()
    other.write_bytes(np.arange(4.0).tobytes())
    file.create_dataset(name, (4,), "f8", external=[(str(other), 0, 32)])


def virtual(file: h5py.File, name: str) -> None:
    with h5py.File("other.h5", "w") as there:
        there["x"] = np.arange(4.0)
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file.create_virtual_dataset(name, layout)


def soft_link(file: h5py.File, name: str) -> None:
    file["below/x"] = [0.05]
    file[name] = h5py.SoftLink("/below/x")


def soft_link_out(file: h5py.File, name: str) -> None:
    file[name] = h5py.SoftLink("../../x")


def soft_link_to_itself(file: h5py.File, name: str) -> None:
    file[name] = h5py.SoftLink(f"/{name}")


def link_to_the_root(file: h5py.File, name: str) -> None:
    file[name] = file["/"]


def of_dtype(dtype: Any, *values: Any) -> Write:
    def write(file: h5py.File, name: str) -> None:
        file.create_dataset(name, data=np.array(values or (0.05,), dtype))

    return write


def of_shape(shape: tuple[int, ...], **options: Any) -> Write:
    def write(file: h5py.File, name: str) -> None:
        file.create_dataset(name, shape, "f8", **options)

    return write


def texts(file: h5py.File, name: str) -> None:
    file.create_dataset(name, data=["0.05", "0.06"])


def compound(file: h5py.File, name: str) -> None:
    file.create_dataset(name, (2,), np.dtype([("t", "f8"), ("u", "f8")]))


def varying_lengths(file: h5py.File, name: str) -> None:
    file.create_dataset(name, (2,), h5py.vlen_dtype(np.float64))


def references(file: h5py.File, name: str) -> None:
    file.create_dataset(name, (2,), h5py.ref_dtype)


def nothing(file: h5py.File, name: str) -> None:
    file[name] = h5py.Empty("f8")


def attribute(file: h5py.File, name: str) -> None:
    file.attrs[name] = [0.05]


def group_with_attributes(file: h5py.File, name: str) -> None:
    file.create_group(name).attrs["data"] = [0.05]


def a_type(file: h5py.File, name: str) -> None:
    file[name] = np.dtype("f8")


ODD_DATA: dict[str, tuple[Write, str]] = {
    "external link": (external_link, "link that leads elsewhere"),
    "external link to data": (external_link_to_data, "link that leads elsewhere"),
    "external storage": (external_storage, "lie in another file"),
    "virtual": (virtual, "lie in another file"),
    "soft link": (soft_link, "link that leads elsewhere"),
    "soft link out of the root": (soft_link_out, "link that leads elsewhere"),
    "soft link to itself": (soft_link_to_itself, "link that leads elsewhere"),
    "the root itself": (link_to_the_root, "holds no array"),
    "a group": (group_with_attributes, "holds no array"),
    "a type": (a_type, "holds no array"),
    "nothing": (nothing, "holds no array"),
    "attribute": (attribute, "no dataset"),
    "texts": (texts, "no numbers"),
    "fixed texts": (of_dtype("S4", b"0.05"), "no numbers"),
    "complex": (of_dtype(complex), "no numbers"),
    "flags": (of_dtype(bool), "no numbers"),
    "opaque": (of_dtype("V8", b"12345678"), "no numbers"),
    "compound": (compound, "no numbers"),
    "varying lengths": (varying_lengths, "no numbers"),
    "references": (references, "no numbers"),
    "10^15 values": (of_shape((10**15,), chunks=(1000,)), "values is the limit"),
    "10^36 values": (of_shape((10**18, 10**18), chunks=(10, 10)), ""),
    "2^64 values": (of_shape((2**32, 2**32), chunks=(10, 10)), ""),
    "10^15 values, no chunks": (of_shape((10**15,)), "values is the limit"),
    "a chunk of 3 GB": (
        of_shape((1,), maxshape=(None,), chunks=(400_000_000,), compression="gzip"),
        "values is the limit",
    ),
    "no axis": (of_shape(()), "have shape ()"),
    "two axes": (of_shape((3, 2)), "have shape (3, 2)"),
    "three axes": (of_shape((3, 2, 1)), "have shape (3, 2, 1)"),
}


def h5_of(*names: str, write: Write) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name in names:
            write(file, name)
    return content.getvalue()


@pytest.mark.parametrize(("write", "why"), ODD_DATA.values(), ids=list(ODD_DATA))
def test_odd_spike_times_are_refused_where_their_cell_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    content = io.BytesIO(h5_of(CELL, write=write))
    with h5py.File(content, "r+") as file:
        file[SILENT] = np.zeros(0)
    archive = pack(tmp_path, changed("resp.h5", content.getvalue()))
    error, silent = read_signals(archive, ["resp"])["resp"].bins([CELL, SILENT], 100)
    assert isinstance(silent, np.ndarray)
    assert silent.size == 0
    assert f"{archive}: {RESP_H5}" in str(error)
    assert why in str(error)
    if write is attribute:  # then it is no cell
        assert list(read(archive)["bins"]) == [SILENT]
    else:
        refusal(archive, RESP_H5, why)


TILES = {name: each for name, each in ODD_DATA.items() if not name.endswith(("axis", "axes"))}


@pytest.mark.parametrize(("write", "why"), TILES.values(), ids=list(TILES))
def test_an_odd_spectrogram_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    archive = pack(tmp_path, changed("stim.h5", h5_of("STIM_a.wav", write=write)))
    if write is attribute:  # then it has no name
        assert read(archive)["tiles"] == []
    else:
        refusal(archive, STIM_H5, why)


@pytest.mark.parametrize(("write", "why"), ODD_DATA.values(), ids=list(ODD_DATA))
def test_an_odd_raster_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {name: each for name, each in recording().items() if not name.endswith("mask.csv")}
    data = h5_of("raster", write=write)
    odd_shape = "shape" in why or write is ODD_DATA["flags"][0]
    archive = pack(tmp_path, {**files, f"{SESSION}.mask.h5": data})
    refusal(archive, "mask.h5", "but 2 channels" if odd_shape else why)


def test_many_spike_times_are_refused(tmp_path: Path) -> None:
    """Each cell may have them, but not all together."""
    cells = [f"{SESSION}-{i:03d}-1" for i in range(3)]
    data = h5_of(*cells, write=of_shape((hdf5.MAX_VALUES // 2,), chunks=(1000,)))
    files = {**recording(), **signal("resp", data, header("PointProcess", chans=cells))}
    refusal(pack(tmp_path, files), RESP_H5, "spike times in all")


@pytest.mark.parametrize("name", ["a/b", "/", ".", "..", "", "/etc/x", "a\0b", f"./{CELL}"])
def test_a_cell_whose_id_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    """It is no key of the HDF5; nobody but the JSON can ask for it."""
    data = h5({"a/b": [0.05], "etc/x": [0.05], CELL: [0.05]})
    files = {**recording(), **signal("resp", data, header("PointProcess", chans=[name]))}
    archive = pack(tmp_path, files)
    resp = read_signals(archive, ["resp"])["resp"]
    assert resp.cells == [CELL, "a", "etc"]
    (error,) = resp.bins([name], 100)
    assert f"{archive}: {RESP_H5}" in str(error)


def test_a_cell_whose_id_is_no_text_is_none(tmp_path: Path) -> None:
    content = io.BytesIO(recording()[RESP_H5])
    with h5py.File(content, "r+") as file:
        file.create_dataset(b"TST001a-\xff-1", data=SPIKES)
    same(pack(tmp_path, changed("resp.h5", content.getvalue())))


def test_a_spectrogram_whose_name_is_no_text_is_none(tmp_path: Path) -> None:
    content = io.BytesIO(recording()[STIM_H5])
    with h5py.File(content, "r+") as file:
        file.create_dataset(b"STIM_\xff.wav", data=TILE)
    same(pack(tmp_path, changed("stim.h5", content.getvalue())))


# -- Rasters ---------------------------------------------------------------------------------------


MASK = raster_csv(RASTER)


@pytest.mark.parametrize(
    "content",
    [
        MASK.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + MASK,
        MASK.rstrip(b"\n"),
        b'"' + MASK.strip().replace(b",", b'","').replace(b"\n", b'"\n"') + b'"',
        MASK.replace(b"nan", b""),
        MASK.replace(b"nan", b"NULL"),
        MASK.replace(b"\n", b"\n\n"),
    ],
    ids=["CRLF", "BOM", "no last line end", "quotes", "empty", "another NaN", "empty lines"],
)
def test_a_raster_in_another_spelling_is_read(tmp_path: Path, content: bytes) -> None:
    same(pack(tmp_path, changed("mask.csv", content)))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (MASK.replace(b".", b"\0", 1), "invalid value"),
        (MASK.decode().encode("utf-16"), "Expected"),
        (MASK.replace(b".", b"\xe4", 1), "invalid value"),
        (MASK.replace(b"\n", b"\r"), "Expected"),
        (MASK.replace(b"\n", b",1.0\n", 1), "Expected 3 columns, got 2"),
        (MASK + b"1.0\n", "Expected 2 columns, got 1"),
        (MASK + b'1.0,"1.0\n"\n', "invalid value"),
        (MASK + b'1.0,"1.0\n', ""),
        (MASK + b"0x10,1.0\n", "invalid value"),
    ],
)
def test_a_damaged_raster_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    refusal(pack(tmp_path, changed("mask.csv", content)), "mask.csv", why)


def test_a_raster_of_one_line_is_refused(tmp_path: Path) -> None:
    archive = pack(tmp_path, changed("mask.csv", b"0" * (raster.MAX_LINE + raster.RASTER_BLOCK)))
    refusal(archive, "mask.csv", "a line of more than")


def test_a_raster_of_many_columns_is_refused(tmp_path: Path) -> None:
    line = b",".join([b"0"] * (raster.MAX_WIDTH + 1)) + b"\n"
    refusal(pack(tmp_path, changed("mask.csv", line)), "mask.csv", "columns")


def test_a_raster_of_many_values_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raster, "MAX_RASTER_VALUES", 5)
    refusal(pack(tmp_path, recording()), "mask.csv", "more than 5 values")
    monkeypatch.setattr(raster, "MAX_RASTER_VALUES", 6)
    read(pack(tmp_path, recording()))


def test_a_later_row_of_many_columns_is_refused(tmp_path: Path) -> None:
    archive = pack(tmp_path, changed("mask.csv", b"1,0\n" + b"1," * 500_000 + b"\n"))
    refusal(archive, "mask.csv", "")


# -- Spike times -----------------------------------------------------------------------------------


def resp_bins(folder: Path, times: Any) -> list[int]:
    data = h5({CELL: times, SILENT: []})
    resp = read_signals(pack(folder, changed("resp.h5", data)), ["resp"])["resp"]
    return bins_of(resp, 1000)[CELL]


@pytest.mark.parametrize(
    ("times", "bins"),
    [
        (SPIKES[::-1], BINS),
        ([0.25, 0.25, 0.25], [25] * 3),
        ([-0.1, -1e300, 0.013], [1]),
        (np.array([0, 1, 2], np.int64), [0, 100, 200]),
        (np.array([0, 1, 2], np.uint8), [0, 100, 200]),
        (np.array([-1, 1], np.int8), [100]),
        (np.array([0.25, 0.5], np.float32), [25, 50]),
        (np.array([0.29], np.float32), [28]),
        (np.array([0.25, 0.5], np.float16), [25, 50]),
        (np.array([0.25, 0.5], ">f8"), [25, 50]),
        ([1e300, 1e18, 0.013], [1]),
    ],
    ids=["unsorted", "duplicated", "negative", "integer", "unsigned", "signed", "float32",
         "float32 in float64", "float16", "big-endian", "after the end"],
)  # fmt: skip
def test_odd_spike_times_are_read(tmp_path: Path, times: Any, bins: list[int]) -> None:
    assert resp_bins(tmp_path, times) == bins


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_spike_times_that_are_no_numbers_are_refused(
    tmp_path: Path, value: float, dtype: type
) -> None:
    data = h5({CELL: np.array([0.1, value], dtype), SILENT: []})
    refusal(pack(tmp_path, changed("resp.h5", data)), RESP_H5, "not a finite number")


# -- JSON ------------------------------------------------------------------------------------------

HEADER = header("PointProcess", chans=[CELL, SILENT])


def edited(**keys: object) -> bytes:
    return header("PointProcess", **{"chans": [CELL, SILENT], **keys})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_in_another_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    content = HEADER.decode().encode(encoding)
    same(pack(tmp_path, changed("resp.json", content)))


@pytest.mark.parametrize(
    "content",
    [
        edited(meta={"x": float("nan"), "y": [None, {}]}),
        edited(fs=100.0),
        edited(chans={"0": CELL}),
        edited(chans=[[CELL]]),
        edited(chans=[None]),
        edited(chans=["\ud800"]),
        edited(chans=["x" * 1_000_000]),
        edited(chans=[CELL, SILENT, CELL]),
        edited(chans=[1, 2.5]),
        HEADER.replace(b"{", b'{"fs": 100.0, ', 1),
        HEADER.replace(b"{", b'{"snr": 1, "snr": 2, ', 1),
        HEADER.replace(b"{", b'{"segments": [[0, 1]], "segments": null, ', 1),
        HEADER.replace(b"{", b'{"meta": {"x": 1, "x": 2, "fs": 1, "fs": 2}, ', 1),
    ],
)
def test_a_header_may_hold_this(tmp_path: Path, content: bytes) -> None:
    """Names of channels that are none, and keys that stand twice but are not used."""
    same(pack(tmp_path, changed("resp.json", content)))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (HEADER.replace(b"{", b'{"fs": 1000, '), "the key 'fs' stands there twice"),
        (HEADER.replace(b"{", b'{"chans": [], ', 1), "the key 'chans' stands there twice"),
        (HEADER.replace(b"{", b'{"signal_type": "TiledSignal", '), "the key 'signal_type' stands"),
        (b"[" * 1_000_000 + b"]" * 1_000_000, "recursion"),
        (b'{"a":' * 1_000_000 + b"1" + b"}" * 1_000_000, "recursion"),
        (edited(meta=0).replace(b"0}", b"[" * 1000 + b"]" * 1000 + b"}"), "recursion"),
        (HEADER.replace(b'"fs": 100', b'"fs": ' + b"1" * 10_000), ""),
        (edited(fs=True), "a number 'fs'"),
        (edited(fs=[100]), "a number 'fs'"),
        (edited(fs={"value": 100}), "a number 'fs'"),
        (edited(fs=float("nan")), "fs is nan"),
        (edited(fs=0.0), "fs is 0"),
        (edited(signal_type=["x" * 1_000_000]), "unknown signal_type"),
        (HEADER[:-1], ""),
        (HEADER + b"{}", ""),
        (b"\0" * 100, ""),
        (b"\xff\xfe\xff", ""),
        (b"null", "not an object"),
        (b'"fs"', "not an object"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)  # fmt: skip
def test_a_damaged_header_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    refusal(pack(tmp_path, changed("resp.json", content)), f"{SESSION}.resp.", why)
