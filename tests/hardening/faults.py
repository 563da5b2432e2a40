"""What the tests of planted faults share: each fault is read rightly, or refused by an error that
names archive, member and reason, before it costs more memory or time than a recording may.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from builders.errors import CorpusError, RecordingError
from builders.nems.recording import read_signals
from builders.nems.signal import Signal
from builders.release.archive import Archive
from tests.archives import SESSION, Files, pack, recording

RESP_H5, STIM_H5 = f"{SESSION}.resp.h5", f"{SESSION}.stim.h5"
RESP_JSON, RESP_EPOCHS = f"{SESSION}.resp.json", f"{SESSION}.resp.epoch.csv"
ALL = ("resp", "stim", "mask")


def read(archive: Archive) -> dict[str, Any]:
    """Everything that `ALL` signals of a recording hold."""
    resp, stim, mask = (read_signals(archive, ALL)[name] for name in ALL)
    return {
        "trials": [trials_of(each) for each in (resp, stim)],
        "spikes": {cell: times.tolist() for cell, times in resp.spike_times()},
        "bins": bins_of(resp),
        "tiles": list(stim.tiles(stim.tile_names())),
        "mask": raster(mask),
    }


def trials_of(signal: Signal) -> dict[str, dict[str, Any]]:
    return {name: vars(signal.trials(name)) for name in signal.stimuli()}


def bins_of(resp: Signal, n_bins: int = 100) -> dict[str, list[int]]:
    """The bins of each cell's spikes; the first error where there is one."""
    found = dict(zip(resp.cells, resp.bins(resp.cells, n_bins), strict=True))
    for bins in found.values():
        if isinstance(bins, RecordingError):
            raise bins
    return {cell: bins.tolist() for cell, bins in found.items() if isinstance(bins, np.ndarray)}


def raster(signal: Signal) -> NDArray[np.float32]:
    """All values of a rasterized signal, (C, T)."""
    return np.concatenate(list(signal.raster_blocks()), axis=1)


def refusal(archive: Archive, member: str, why: str = "") -> str:
    """Reading fails with a `RecordingError` that names archive, member and reason; its message."""
    with pytest.raises(RecordingError) as caught:
        read(archive)
    message = str(caught.value)
    assert f"{archive}: " in message
    assert member in message
    assert why in message
    assert "MemoryError" not in message
    assert len(message) < 2000
    message.encode()
    return message


def same(archive: Archive) -> None:
    """An archive holds what `recording` does."""
    np.testing.assert_equal(read(archive), whole())


def same_or_refused(archive: Archive) -> None:
    """No other values than those of `recording` are read."""
    try:
        found = read(archive)
    except CorpusError:
        return
    np.testing.assert_equal(found, whole())


def changed(member: str, content: bytes | None) -> Files:
    """The recording with another content of this member, or without it."""
    files: dict[str, bytes | None] = {**recording(), f"{SESSION}.{member}": content}
    if member == "mask.h5":  # in place of the CSV: a signal has one data file
        del files[f"{SESSION}.mask.csv"]
    return {name: each for name, each in files.items() if each is not None}


def written(folder: Path, content: bytes) -> Archive:
    """An archive of just these bytes."""
    path = folder / "any.tgz"
    path.write_bytes(content)
    return Archive(path.name, path)


@cache
def whole() -> dict[str, Any]:
    """What the recording holds when nothing is wrong with it."""
    with TemporaryDirectory() as folder:
        return read(pack(Path(folder), recording()))
