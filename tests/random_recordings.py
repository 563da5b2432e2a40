"""Recordings that are odd in random ways, for `tests.random_releases`.

A recording is drawn as it should be; then some oddities change it, one after the other. Most of
them are read on, and some are refused.
"""

from __future__ import annotations

import csv
import gzip
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st

from tests.archives import Files, header

STIMS = ("STIM_a.wav", "STIM_b.wav", "STIM_00c.wav", "STIM_00d.wav")
MISSING = ("", " ", "NaN", "nan", "NA", "N/A", "None", "<NA>", "null", "-1.#IND", "#N/A N/A")
BANDS = 32
# Halves of a bin are edges and ties; the others lie anywhere.
SECONDS = st.integers(0, 120).map(lambda half: half / 200) | st.floats(0, 0.6)
SPIKES = st.lists(st.integers(-4, 140).map(lambda half: half / 200) | st.floats(-0.1, 0.7))

Draw = st.DrawFn


@dataclass(eq=False)
class Recording:
    """One archive.

    Attributes
    ----------
    name : str
        The session that it is named after.
    session : str
        The session that its files are named after.
    spikes : dict
        Of each cell, what the HDF5 holds; None: a group.
    columns, rows
        The epochs table, of `resp` and of `stim`.
    earlier, others : list of (str, bytes)
        Files before those of the signals, and after them. None: a link.
    pack : callable
        From the tar to the archive.
    is_folder : bool
        Whether it has been unpacked.
    """

    name: str
    session: str
    fs: int
    spikes: dict[str, Any]
    rows: list[list[str]]
    tiles: dict[str, Any] = field(repr=False)
    chans: Any = None
    columns: list[str] = field(default_factory=lambda: ["name", "start", "end"])
    encode: Callable[[str], bytes] = str.encode
    has_stim_epochs: bool = True
    earlier: list[tuple[str, bytes | None]] = field(default_factory=list)
    others: list[tuple[str, bytes | None]] = field(default_factory=list)
    lacking: set[str] = field(default_factory=set)
    pack: Callable[[bytes], bytes] = lambda tar: gzip.compress(tar, 1, mtime=0)
    is_folder: bool = False

    def file(self, signal: str) -> str:
        return f"{self.session}.{signal}"

    def epochs(self) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        return self.encode(text.getvalue())

    def signals(self) -> Files:
        files = {
            "resp.h5": _h5(self.spikes),
            "resp.json": header("PointProcess", fs=self.fs, chans=self.chans),
            "resp.epoch.csv": self.epochs(),
            "stim.h5": _h5(self.tiles),
            "stim.json": header("TiledSignal"),
            "stim.epoch.csv": self.epochs() if self.has_stim_epochs else b"",
        }
        return {self.file(k): content for k, content in files.items() if k not in self.lacking}

    def write(self, folder: Path, number: int) -> None:
        members = [*self.earlier, *self.signals().items(), *self.others]
        place = folder / f"{self.name}_{number:040x}"
        if self.is_folder:
            place.mkdir(parents=True)
            for name, content in members:
                if content is not None:
                    (place / name.split("/")[-1]).write_bytes(content)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            place.with_name(f"{place.name}.tgz").write_bytes(self.pack(tar_of(members)))


def _h5(datasets: dict[str, Any]) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, values in datasets.items():
            if values is None:
                file.create_group(name)
            else:
                file.create_dataset(name, data=values)
    return content.getvalue()


def tar_of(members: list[tuple[str, bytes | None]]) -> bytes:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as target:
        for name, content in members:
            info = tarfile.TarInfo(f"some/{name}")
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "nowhere"
            else:
                info.size = len(content)
            target.addfile(info, None if content is None else io.BytesIO(content))
    return tar.getvalue()


def presentations(draw: Draw, stims: tuple[str, ...]) -> list[list[str]]:
    """Rows of an epochs table: one stimulus after the other, some of them several times."""
    rows, now = [], 0.0
    for stim in draw(st.lists(st.sampled_from(stims), min_size=1, max_size=6)):
        n_bins = draw(st.integers(1, 6))
        rows.append([stim, repr(now), repr(now + n_bins / 100)])
        now += (n_bins + draw(st.sampled_from([0, 0.5, 2]))) / 100
    return rows


def recording(draw: Draw, session: str, cells: list[str], fs: int) -> Recording:
    """One that is as it should be."""
    rows = presentations(draw, STIMS)
    shown = sorted({name for name, _, _ in rows})
    # Small numbers, which float32 holds exactly.
    tiles = {stim: np.arange(BANDS * 3.0).reshape(BANDS, 3) + i for i, stim in enumerate(shown)}
    spikes = {cell: np.array(draw(SPIKES), np.float64) for cell in cells}
    return Recording(session, session, fs, spikes, rows, tiles, chans=list(cells))


# -- Oddities of the epochs table ------------------------------------------------------------------


def _row(draw: Draw, of: Recording) -> list[str]:
    return draw(st.sampled_from(of.rows))


def _insert(draw: Draw, of: Recording, row: list[str]) -> None:
    of.rows.insert(draw(st.integers(0, len(of.rows))), row)


def without_a_bound(draw: Draw, of: Recording) -> None:
    place, row = draw(st.integers(1, 2)), _row(draw, of)
    row[place : place + 1] = [draw(st.sampled_from(MISSING))]


def any_occurrence(draw: Draw, of: Recording) -> None:
    """Overlapping another one, touching it, or of no length."""
    start, end = sorted([draw(SECONDS), draw(SECONDS)])
    _insert(draw, of, [_row(draw, of)[0], repr(start), repr(end)])


def no_length(draw: Draw, of: Recording) -> None:
    name, *bounds = _row(draw, of)
    _insert(draw, of, [name, *(bounds[:1] * 2)])


def row_twice(draw: Draw, of: Recording) -> None:
    _insert(draw, of, list(_row(draw, of)))


def rows_that_nobody_asks_for(draw: Draw, of: Recording) -> None:
    for odd in (["LICK", "0.1", ""], ["LICK", "soon"], [], ["", "-5", "-6", "x"], [" "]):
        _insert(draw, of, odd)


def short_row(draw: Draw, of: Recording) -> None:
    del _row(draw, of)[draw(st.integers(1, 2)) :]


def long_row(draw: Draw, of: Recording) -> None:
    row = _row(draw, of)
    row += [""] * (len(of.columns) - len(row)) + draw(st.sampled_from([[" ", ""], ["", "x"]]))


def odd_bound(draw: Draw, of: Recording) -> None:
    odd = ["1e-1", " .25 ", "+0.3", "5.", "-0.001", "-1", "inf", "1_0", "٣", "soon", "1e9", "nAn"]
    row = _row(draw, of)
    if len(row) > 2:
        row[draw(st.integers(1, 2))] = draw(st.sampled_from(odd))


def columns_in_another_order(draw: Draw, of: Recording) -> None:
    order = draw(st.permutations(range(len(of.columns))))
    if all(len(row) == len(order) for row in of.rows):
        of.columns = [of.columns[i] for i in order]
        of.rows = [[row[i] for i in order] for row in of.rows]


def more_columns(draw: Draw, of: Recording) -> None:
    """Without a name, with one of their own, or with the name of another."""
    name = draw(st.sampled_from(["", "note", "name", " start ", "end"]))
    place = of.columns.index(name.strip()) if name.strip() in of.columns else None
    of.columns = [*of.columns, name]
    for row in of.rows:
        row += [""] * (len(of.columns) - 1 - len(row))
        row.append("x" if place is None else row[place])
    if draw(st.integers(0, 3)) == 3:
        _row(draw, of)[-1] = "0.125"


def another_spelling(draw: Draw, of: Recording) -> None:
    of.encode = draw(
        st.sampled_from(
            [
                lambda text: text.encode("utf-8-sig"),
                lambda text: text.replace("\n", "\r\n").encode(),
                lambda text: text.replace("STIM_a.wav", '"STIM_a.wav"').encode(),
                lambda text: text.encode() + b'ODD,"\xff",1\n',
                lambda text: text.encode() + b'never,"closed\n',
            ]
        )
    )


# -- Oddities of the cells -------------------------------------------------------------------------


def other_channels(draw: Draw, of: Recording) -> None:
    names = list(of.spikes)
    of.chans = draw(
        st.sampled_from([None, names[1:], [*names, f"{of.session}-099-9"], {"a": 1}, [None], []])
    )


def other_shapes(draw: Draw, of: Recording) -> None:
    cell = draw(st.sampled_from(sorted(of.spikes)))
    values = of.spikes[cell]
    shape = draw(st.sampled_from([(-1, 1), (1, -1), (-1,)]))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    if values is not None:
        of.spikes[cell] = values.reshape(-1).reshape(shape if values.size else (0,)).astype(dtype)


def odd_spikes(draw: Draw, of: Recording) -> None:
    odd = [np.array([0.1, np.nan]), np.array([np.inf]), np.ones((2, 2)), None, np.array(0.5)]
    odd += [np.array([b"x"]), np.array([1, 2])]
    of.spikes[draw(st.sampled_from(sorted(of.spikes)))] = draw(st.sampled_from(odd))


def lost_cell(draw: Draw, of: Recording) -> None:
    if len(of.spikes) > 1:
        del of.spikes[draw(st.sampled_from(sorted(of.spikes)))]


def unlisted_cells(draw: Draw, of: Recording) -> None:
    of.spikes |= {f"{of.session}-077-1": np.array([0.1]), "QQQ001a-001-1": np.array([0.2])}


# -- Oddities of the spectrograms ------------------------------------------------------------------


def other_tiles(draw: Draw, of: Recording) -> None:
    """None, one that no epoch presents, or of another length."""
    stim = draw(st.sampled_from(STIMS))
    n_bins = draw(st.integers(0, 4))
    of.tiles.pop(stim, None)
    if n_bins:
        of.tiles[stim] = np.ones((BANDS, n_bins), np.float32)


def odd_tile(draw: Draw, of: Recording) -> None:
    odd = [np.ones((BANDS - 1, 3)), np.ones(3), np.full((BANDS, 2), np.nan), None]
    of.tiles[draw(st.sampled_from(STIMS))] = draw(st.sampled_from(odd))


def no_epochs_of_the_stimuli(draw: Draw, of: Recording) -> None:
    of.has_stim_epochs = False


# -- Oddities of the archive -----------------------------------------------------------------------


def earlier_versions(draw: Draw, of: Recording) -> None:
    """In a tar, the last one counts."""
    of.is_folder = False
    odd = {
        "resp.epoch.csv": b"name,start,end\nSTIM_z.wav,0,1\n",
        "stim.h5": b"?",
        "resp.json": b"?",
    }
    of.earlier += [(of.file(name), content) for name, content in odd.items()]


def litter(draw: Draw, of: Recording) -> None:
    for name in ("01.{}.resp.json", "._{}.resp.h5", "{}.meta.json", ".DS_Store", "{}.resp.png"):
        of.others.append((name.format(of.session), b"?"))


def unused_signals(draw: Draw, of: Recording) -> None:
    odd: list[tuple[str, bytes | None]] = [
        ("pupil.json", b"{"),
        ("pupil.h5", b"?"),
        ("pupil.csv", b"?"),
        ("lick.epoch.csv", b'"'),
        ("link.h5", None),
    ]
    of.others += [(of.file(name), content) for name, content in odd]


def ambiguous(draw: Draw, of: Recording) -> None:
    """Refused: two data files, or a link in a file's place."""
    names = ("resp.csv", "stim.csv", "other.resp.h5", "other.stim.h5")
    name = draw(st.sampled_from([*names, "resp.json", "stim.json"]))
    content = b"1,2\n" if name in names else None
    of.others.append((of.file(name), content))


def lost_file(draw: Draw, of: Recording) -> None:
    of.lacking.add(draw(st.sampled_from(["resp.json", "resp.h5", "stim.json", "stim.h5"])))


def outside(draw: Draw, of: Recording) -> None:
    of.others.append((f"../../{of.file('x.json')}", b"{}"))


def other_gzip(draw: Draw, of: Recording) -> None:
    """What follows the archive, how it ends, in how many streams."""

    def streams(tar: bytes) -> bytes:
        half = len(tar) // 2
        return gzip.compress(tar[:half], 1) + b"\0" * 7 + gzip.compress(tar[half:], 1)

    of.pack = draw(
        st.sampled_from(
            [
                lambda tar: gzip.compress(tar, 1) + b"\0" * 5000,
                lambda tar: gzip.compress(tar, 1) + b"garbage",
                lambda tar: gzip.compress(tar, 1) + b"\0" * 9 + b"garbage" * 900,
                lambda tar: gzip.compress(tar + b"x" * 300, 1),
                streams,
                lambda tar: gzip.compress(_without_end(tar), 1),
                lambda tar: gzip.compress(tar, 1)[:-9],
                lambda tar: b"no archive at all",
            ]
        )
    )


def _without_end(tar: bytes) -> bytes:
    """Without the blocks of zeros that end it."""
    return tar[: -(-len(tar.rstrip(b"\0")) // 512) * 512]


def folder(draw: Draw, of: Recording) -> None:
    of.is_folder = True


OF_TABLES = (
    *(without_a_bound, any_occurrence, any_occurrence, no_length, row_twice, short_row, long_row),
    *(rows_that_nobody_asks_for, odd_bound, columns_in_another_order, more_columns),
    another_spelling,
)
OF_CELLS = (other_channels, other_channels, other_shapes, odd_spikes, lost_cell, unlisted_cells)
OF_STIMULI = (other_tiles, other_tiles, odd_tile, no_epochs_of_the_stimuli)
OF_ARCHIVES = (
    *(earlier_versions, litter, unused_signals, ambiguous, lost_file, outside, other_gzip),
    *(other_gzip, folder),
)
