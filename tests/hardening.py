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

from builders.errors import CorpusError
from builders.nems import read_signals
from builders.release import Archive

from .archives import SESSION, Files, pack, recording

RESP_H5, STIM_H5 = f"{SESSION}.resp.h5", f"{SESSION}.stim.h5"
RESP_JSON, RESP_EPOCHS = f"{SESSION}.resp.json", f"{SESSION}.resp.epoch.csv"


def read(archive: Archive) -> dict[str, Any]:
    """Everything that the `resp`, `stim` and `mask` of a recording hold."""
    signals = read_signals(archive, ["resp", "stim", "mask"])
    resp, stim, mask = signals["resp"], signals["stim"], signals["mask"]
    return {
        "trials": [vars(resp.trials(name)) for name in resp.stimuli()],
        "spikes": {cell: times.tolist() for cell, times in resp.spike_times()},
        "bins": {cell: bins.tolist() for cell, bins in resp.bins()},
        "tiles": list(stim.tiles(stim.tile_names())),
        "mask": np.concatenate(list(mask.raster_blocks()), axis=1),
    }


def refusal(archive: Archive, member: str, why: str) -> None:
    """Reading fails with a `CorpusError` that names archive, member and reason."""
    with pytest.raises(CorpusError) as caught:
        read(archive)
    message = str(caught.value)
    assert str(archive) in message
    assert member in message
    assert why in message
    assert "MemoryError" not in message
    assert len(message) < 2000
    message.encode()


def changed(member: str, content: bytes) -> Files:
    """The recording with another content of this member."""
    return {**recording(), f"{SESSION}.{member}": content}


@cache
def whole() -> dict[str, Any]:
    """What the recording holds when nothing is wrong with it."""
    with TemporaryDirectory() as folder:
        return read(pack(Path(folder), recording()))
