"""Copies of a release to spoil, and to serve: members rewritten, files put out of place."""

from __future__ import annotations

import csv
import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from datasets import load_dataset

from builders.errors import CorpusError
from builders.synthetic.recordings import write_archive
from wingert2026.synthetic.cells import write_cell_list
from wingert2026.synthetic.release import archives

Change = Callable[[str, bytes], bytes | None]


def copy_release(source: Path, folder: Path) -> Path:
    """A copy whose archives are links until they are rewritten."""
    for path in source.rglob("*"):
        target = folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            shutil.copy(path, target)
        elif path.is_file():
            target.symlink_to(path)
    return folder


def as_published(release: Path, folder: Path) -> dict[str, Path | bytes]:
    """A release's files as they are on Zenodo: its directories as zips."""
    files: dict[str, Path | bytes] = {}
    for path in release.iterdir():
        if path.is_dir():
            outer = folder / f"{path.name}.zip"
            with zipfile.ZipFile(outer, "w") as file:  # stored: the archives are packed already
                for member in sorted(path.iterdir()):
                    file.write(member, f"{path.name}/{member.name}")
            files[outer.name] = outer
        else:
            files[path.name] = path
    return {"wav.zip": b"not yet", **files}


def rewrite(archive: Path, change: Change, added: Mapping[str, bytes] | None = None) -> None:
    """Pass each member through `change`: its base name and content to its new content, or None.

    Members of other names and contents may be `added` at the end.
    """
    old = archive.read_bytes()
    archive.unlink()
    with (
        tarfile.open(fileobj=io.BytesIO(old)) as source,
        tarfile.open(archive, "w:gz", compresslevel=1) as target,
    ):
        for info in source:
            file = source.extractfile(info)
            content = change(info.name.split("/")[-1], file.read() if file else b"")
            if content is not None:
                info.size = len(content)
                target.addfile(info, io.BytesIO(content))
        for name, content in (added or {}).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            target.addfile(info, io.BytesIO(content))


def read_member(archive: Path, ending: str) -> bytes:
    """The content of the one member whose name ends so."""
    with tarfile.open(archive) as tar:
        (found,) = (info for info in tar if info.name.endswith(ending) and "/01." not in info.name)
        file = tar.extractfile(found)
        return file.read() if file else b""


def change_member(archive: Path, ending: str, change: Callable[[bytes], bytes | None]) -> None:
    """`rewrite` for the one member whose name ends so."""
    rewrite(
        archive,
        lambda name, data: (
            change(data) if name.endswith(ending) and not name.startswith("01.") else data
        ),
    )


def change_h5(content: bytes, change: Callable[[h5py.File], None]) -> bytes:
    file = io.BytesIO(content)
    with h5py.File(file, "r+") as h5:
        change(h5)
    return file.getvalue()


def change_cells(path: Path, **columns: str) -> None:
    """Give each row of a cell list these values."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row | columns for row in csv.DictReader(file)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def keep_cells(path: Path, kept: Collection[str]) -> None:
    """Let a cell list name these cells alone."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["cellid"] in kept]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def small_sites(folder: Path, repetitions: dict[str, int]) -> Path:
    """A release of wingert2026 with three cells of CLT027c, in A1, and three of CLT050c, in PEG.

    Both heard the same stimuli, each of them so many times.
    """
    sessions = {"CLT027c", "CLT050c"}
    (folder / "recordings").mkdir(parents=True)
    write_cell_list(folder / "cell_list.csv", sessions, 0)
    for plan in archives("mini", 0):
        if plan.session in sessions:
            small = replace(plan, cells=plan.cells[:3], repetitions=repetitions)
            write_archive(folder / "recordings", small, 0)
    return folder


def no_shard(own_home: Path) -> bool:
    shards = own_home / "builders" / "shards"
    return not [path for path in shards.rglob("*") if path.suffix in (".parquet", ".partial")]


def refused(corpus: str, config: str, *words: str) -> None:
    """Loading fails with a `CorpusError` that says all of these words."""
    with pytest.raises(CorpusError) as caught:
        load_dataset(f"./{corpus}", config)
    for word in words:
        assert word in str(caught.value)
