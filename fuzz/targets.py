"""What is fuzzed: each target takes any bytes, and lets nothing through but a `CorpusError`.

An archive is compressed, and mutated bytes rarely inflate. So the first byte of an input says at
which depth the rest is put into an otherwise sound recording: as the gzip stream, as the tar in it,
or as one of the members.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
from datasets import Features

from builders.errors import CorpusError
from builders.nems.recording import read_signals
from builders.nems.signal import Signal
from builders.release.archive import Archive
from builders.schema import STIMULI
from builders.shards.cells import read_cells, read_texts
from builders.shards.spectrograms import StoredSpectrograms
from fuzz.seeds import MEMBERS, recording, tar_of
from wingert2026.cells import PUBLISHED

_TEMPORARY = tempfile.TemporaryDirectory(prefix="builders-fuzz-")
_FOLDER = Path(_TEMPORARY.name)
FEATURES = Features(STIMULI)


def archive(content: bytes) -> None:
    """Read everything that a recording holds."""
    depth, rest = content[:1], content[1:]
    level = depth[0] if depth else 0
    if level == 0:
        packed = rest
    elif level == 1:
        packed = gzip.compress(rest, 0)
    else:
        member = MEMBERS[level % len(MEMBERS)]
        packed = gzip.compress(tar_of({**recording(), member: rest}), 0)
    path = _FOLDER / "any.tgz"
    path.write_bytes(packed)
    try:
        signals = read_signals(Archive(path.name, path), ("resp", "stim", "mask"))
    except CorpusError:
        return
    for signal in signals.values():
        for read in READS:
            _quietly(partial(read, signal))


def _columns(stim: str) -> dict[str, str]:
    return dict.fromkeys(("stim_id", "stim", "subset", "session"), stim)


def _spectrograms(found: StoredSpectrograms) -> Iterator[pa.Table]:
    return found.tables(found.names, _columns, 2, FEATURES, lambda *_: None)


#: The ways to read a signal; all but one or two of them are refused.
READS: tuple[Callable[[Signal], object], ...] = (
    lambda signal: [signal.trials(stim) for stim in signal.stimuli()],
    lambda signal: list(signal.bins(signal.cells, 1000)),
    lambda signal: list(signal.raster_blocks()),
    lambda signal: list(signal.windows(signal.stimuli())),
    lambda signal: list(_spectrograms(StoredSpectrograms([signal], joins=False))),
)


def cell_list(content: bytes) -> None:
    """Read a cell list, its typed columns and all its texts."""
    path = _FOLDER / "cell_list.csv"
    path.write_bytes(content)
    _quietly(lambda: read_cells(path, PUBLISHED, cell_id="cellid", site="siteid"))
    _quietly(lambda: read_texts(path, "cellid"))


def _quietly(act: Callable[[], object]) -> None:
    try:
        act()
    except CorpusError as error:
        str(error).encode()


TARGETS = {"archive": archive, "cell_list": cell_list}
