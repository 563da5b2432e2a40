"""Read one NEMS recording: a gzip tar of signals, or the folder it was unpacked into.

A signal is one data file (``.h5`` or ``.csv``), one ``.json`` and one ``.epoch.csv``, all named
``<recording>.<signal>``. Only requested signals are parsed, so errors in others do not matter.
Their data are read only if they are requested. Nothing is unpacked to disk. The gzip stream is
read to its end, so that its checksum is verified before any value is returned.

The layout is that of the format's writer (NEMS0, `nems0/recording.py` and `nems0/signal.py`).
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Collection
from typing import IO, Any

from builders.errors import CorpusError
from builders.nems.archive import TAR_BLOCK, members, reading, recording_error
from builders.nems.raster import Raster
from builders.nems.signal import SIGNAL_TYPES, Signal
from builders.release.archive import Archive
from builders.texts import is_text

#: Limits in bytes for a JSON or epochs file, and for an HDF5 file; published: 1 MB and 0.2 GB.
LARGEST_SIDECAR, LARGEST_H5 = 1 << 26, 1 << 30
DATA_FILES, SIDECARS = ("h5", "csv"), ("json", "epoch.csv")
#: The keys of a signal's JSON that are used.
KEYS = ("fs", "chans", "signal_type")


def read_signals(
    archive: Archive, data: Collection[str], others: Collection[str] = ()
) -> dict[str, Signal]:
    """Read some signals of a recording, in one pass over its archive.

    Parameters
    ----------
    archive : Archive
        A ``.tgz``, the folder it was unpacked into, or a ``.tgz`` inside a zip.
    data : collection of str
        Names of the signals to read with their data.
    others : collection of str
        Names of the signals to read without data; left out if missing or invalid.

    Returns
    -------
    dict of str to Signal
        By name.

    Raises
    ------
    CorpusError
        If the archive is damaged or incomplete, or if a signal that `data` names is missing, is
        invalid or has two data files.
    """
    wanted = {*data, *others}
    sidecars: dict[str, dict[str, bytes]] = {}
    contents: dict[str, dict[str, bytes | Raster]] = {name: {} for name in wanted}
    with reading(archive) as place:
        for member, content, size in members(archive, place):
            base, signal, suffix = _split_name(member)
            is_sidecar = suffix in SIDECARS
            if signal not in wanted or (
                signal not in data and is_sidecar and size > LARGEST_SIDECAR
            ):
                continue
            invalid = "it is neither a plain file nor a folder" if content is None else ""
            if archive.path.is_dir() and (
                member in contents[signal] or suffix in sidecars.get(base, {})
            ):
                invalid = "two files have this name"
            if invalid and signal in data:
                raise recording_error(archive, member, invalid)
            if invalid or content is None:
                wanted.remove(signal)
                del contents[signal]
            elif suffix in DATA_FILES:
                read = _data if signal in data else _nothing
                contents[signal][member] = read(archive, member, content, size)
            else:
                text = _read(archive, member, content, size, LARGEST_SIDECAR)
                sidecars.setdefault(base, {})[suffix] = text
    found = {}
    for signal, files in contents.items():
        try:
            found[signal] = _signal(archive, signal, files, sidecars)
        except CorpusError:
            if signal in data:
                raise
    return found


def _nothing(*_: object) -> bytes:
    return b""


def _data(archive: Archive, member: str, content: IO[bytes], size: int) -> bytes | Raster:
    if not member.endswith(".csv"):
        return _read(archive, member, content, size, LARGEST_H5)
    try:
        return Raster(content)
    except ValueError as error:
        raise recording_error(archive, member, error) from error


def _read(archive: Archive, member: str, content: IO[bytes], size: int, limit: int) -> bytes:
    if size > limit:
        raise recording_error(
            archive, member, f"it has {size} bytes unpacked; {limit} is the limit"
        )
    whole = io.BytesIO()  # grows in place; read() would hold the pieces and the whole at once
    shutil.copyfileobj(content, whole, TAR_BLOCK)
    return whole.getvalue()


def _split_name(member: str) -> tuple[str, str, str]:
    """``CLT027c.resp.epoch.csv`` -> ``("CLT027c.resp", "resp", "epoch.csv")``."""
    for suffix in (*SIDECARS, *DATA_FILES):
        if member.endswith(f".{suffix}") and (base := member.removesuffix(f".{suffix}")):
            return base, base.rpartition(".")[2], suffix
    return member, "", ""


def _signal(
    archive: Archive,
    signal: str,
    files: dict[str, bytes | Raster],
    sidecars: dict[str, dict[str, bytes]],
) -> Signal:
    if len(files) > 1:
        raise recording_error(archive, " and ".join(files), "the signal has two data files")
    if not files:
        raise recording_error(
            archive, f"*.{signal}.h5 or .csv", f"the archive has no signal {signal!r}"
        )
    ((member, data),) = files.items()
    base = member.rpartition(".")[0]
    texts = sidecars.get(base, {})
    if "json" not in texts:
        raise recording_error(archive, f"{base}.json", "the archive has no such member")
    header = _header(archive, f"{base}.json", texts["json"])
    spelled = str(header.get("signal_type", "RasterizedSignal"))
    kind = next((kind for kind in SIGNAL_TYPES if kind in spelled), None)
    if kind is None:
        raise recording_error(archive, f"{base}.json", f"unknown signal_type {spelled}")
    fs, channels = float(header["fs"]), _channels(header)
    return Signal(archive, member, kind, fs, channels, texts.get("epoch.csv"), data)


def _header(archive: Archive, member: str, content: bytes) -> dict[str, Any]:
    try:
        header = json.loads(content, object_pairs_hook=_Object)
        repr(header)  # refuses JSON that is nested too deeply for a message
    except (ValueError, RecursionError) as error:
        raise recording_error(archive, member, error) from error
    if not isinstance(header, _Object) or type(header.get("fs")) not in (int, float):
        raise recording_error(archive, member, "not an object with a number 'fs'")
    if twice := sorted(header.twice.intersection(KEYS)):
        raise recording_error(
            archive, member, f"the key {twice[0]!r} stands there twice, with two values"
        )
    if not 0 < header["fs"] < 1e9:
        raise recording_error(archive, member, f"fs is {header['fs']}")
    return header


def _channels(header: dict[str, Any]) -> list[str]:
    """The names of the channels; empty unless all of them are valid names."""
    chans = header.get("chans")
    chans = chans if isinstance(chans, list) else []
    names = [str(each) for each in chans if isinstance(each, str | int | float)]
    return names if len(names) == len(chans) and all(map(is_text, names)) else []


class _Object(dict[str, Any]):
    """A JSON object; `twice` has the keys with two different values. The last value counts."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice = {key for key, value in pairs if value is not self[key] and value != self[key]}
