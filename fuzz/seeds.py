"""The seed corpus, made anew by each run: ``python -m fuzz.seeds FOLDER``."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import h5py
import numpy as np

SESSION = "TST001a"
CELLS = (f"{SESSION}-002-1", f"{SESSION}-A-001-1")
EPOCHS = b'name,start,end\nSTIM_a.wav,0.2,0.3\n"STIM_00b, c.wav",0.0,0.1\nTRIAL,0.0,0.3\n'
#: The members that an input may take the place of.
MEMBERS = tuple(
    f"{SESSION}.{name}"
    for name in ("resp.json", "resp.epoch.csv", "resp.h5", "stim.h5", "mask.csv", "mask.json")
)


def _h5(values: Mapping[str, object]) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, each in values.items():
            file.create_dataset(name, data=each, compression="gzip")
    return content.getvalue()


def _header(kind: str, channels: list[str] | None) -> bytes:
    spelled = f"<class 'nems0.signal.{kind}'>"
    return json.dumps(
        {"name": "x", "fs": 100, "chans": channels, "segments": [[0, 60]], "signal_type": spelled}
    ).encode()


@cache
def recording() -> dict[str, bytes]:
    """A sound recording with a signal of each type."""
    signals = {
        "resp": ("h5", _h5({cell: [0.01, 0.25] for cell in CELLS}), "PointProcess", list(CELLS)),
        "stim": ("h5", _h5({"STIM_a.wav": np.ones((2, 10))}), "TiledSignal", None),
        "mask": ("csv", b"0.0,1.0\n" * 60, "RasterizedSignal", ["x", "y"]),
    }
    files: dict[str, bytes] = {}
    for name, (suffix, data, kind, channels) in signals.items():
        base = f"{SESSION}.{name}"
        files |= {f"{base}.{suffix}": data, f"{base}.epoch.csv": EPOCHS}
        files[f"{base}.json"] = _header(kind, channels)
    return files


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """An uncompressed tar of these files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, each in files.items():
            info = tarfile.TarInfo(f"{SESSION}/{name}")
            info.size = len(each)
            tar.addfile(info, io.BytesIO(each))
    return content.getvalue()


def _cell_list() -> bytes:
    from wingert2026.cells import PUBLISHED

    texts = {"mwf": '"[ 1.0e-03 -2.0e-03\n  3.0e-03]"', "area": "A1", "layer": "13"}
    texts |= {"siteid": SESSION, "siteid_2": SESSION, "celltype": "RS"}
    texts |= dict.fromkeys(("goodpred", "goodpred_ceil", "narrow", "superficial"), "True")
    lines = [",".join(PUBLISHED)]
    for cell in CELLS:
        lines.append(",".join({**texts, "cellid": cell}.get(name, "2.0") for name in PUBLISHED))
    unlabelled = {"cellid": f"{SESSION}-003-1", "siteid": SESSION, "goodpred": "False"}
    lines.append(",".join(unlabelled.get(name, "") for name in PUBLISHED))
    return "\n".join(lines).encode() + b"\n"


def write(folder: Path) -> None:
    """Write the seeds of each target into a folder of its name."""
    tar = tar_of(recording())
    archive = {"gzip": b"\0" + gzip.compress(tar, mtime=0), "tar": b"\1" + tar}
    for number, member in enumerate(MEMBERS):
        archive[member] = bytes([number + len(MEMBERS)]) + recording()[member]
    one = tar_of({MEMBERS[0]: recording()[MEMBERS[0]]})
    archive["small tar"] = b"\1" + one
    cells = _cell_list()
    first = b"\n".join(cells.split(b"\n")[:2]) + b"\n"
    lists = {"list": cells, "CRLF": cells.replace(b"\n", b"\r\n"), "row": first}
    lists["BOM"] = b"\xef\xbb\xbf" + first
    for target, seeds in (("archive", archive), ("cell_list", lists)):
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, content in seeds.items():
            (folder / target / name).write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
