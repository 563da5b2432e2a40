"""Ten kinds of oddities that a release may have, to be sown into its sessions.

Each is read on, and noted.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import h5py

from tests.releases import change_h5, change_member

Row = dict[str, str]


def archive_of(release: Path, session: str) -> Path:
    """The archive of a session that is named after it."""
    return next((release / "recordings").glob(f"{session}_*.tgz"))


def _change_epochs(archive: Path, change: Callable[[list[Row]], None]) -> None:
    """Let `change` work on the rows of the response's epochs table."""

    def rewritten(content: bytes) -> bytes:
        rows = list(csv.DictReader(io.StringIO(content.decode())))
        change(rows)
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()

    change_member(archive, ".resp.epoch.csv", rewritten)


def _of_stimuli(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["name"].startswith("STIM_")]


def _repeated(rows: list[Row]) -> list[Row]:
    """The trials of a stimulus that was presented more than once, in time order."""
    stimuli = _of_stimuli(rows)
    for row in stimuli:
        same = [each for each in stimuli if each["name"] == row["name"]]
        if len(same) > 1:
            return sorted(same, key=lambda each: float(each["start"]))
    raise AssertionError("no stimulus was presented twice")


def without_an_end(release: Path, session: str) -> str:
    """An occurrence of a stimulus has no end."""

    def change(rows: list[Row]) -> None:
        _repeated(rows)[0]["end"] = ""

    _change_epochs(archive_of(release, session), change)
    return "without a start or an end"


def overlapping(release: Path, session: str) -> str:
    """An occurrence begins half a second before the one before it ends."""

    def change(rows: list[Row]) -> None:
        first, second, *_ = _repeated(rows)
        start = float(first["end"]) - 0.5
        second |= {"start": str(start), "end": str(start + 5)}

    _change_epochs(archive_of(release, session), change)
    return "overlapping the one before"


def cut_short(release: Path, session: str) -> str:
    """One of several trials of a stimulus is half as long as the others."""

    def change(rows: list[Row]) -> None:
        row = _repeated(rows)[0]
        row["end"] = str((float(row["start"]) + float(row["end"])) / 2)

    _change_epochs(archive_of(release, session), change)
    return "its trials differ in length"


def never_ended(release: Path, session: str) -> str:
    """No occurrence of a stimulus has an end."""

    def change(rows: list[Row]) -> None:
        name = _of_stimuli(rows)[0]["name"]
        for row in rows:
            if row["name"] == name:
                row["end"] = "NaN"

    _change_epochs(archive_of(release, session), change)
    return "no trial is left"


def _change_cells(
    archive: Path, h5: Callable[[h5py.File], None], chans: Callable[[list[str]], None]
) -> None:
    def header(content: bytes) -> bytes:
        found = json.loads(content)
        chans(found["chans"])
        return json.dumps(found).encode()

    change_member(archive, ".resp.h5", lambda content: change_h5(content, h5))
    change_member(archive, ".resp.json", header)


def _first(file: h5py.File) -> str:
    return str(min(file))


def dropped_cell(release: Path, session: str) -> str:
    """A listed cell is not in the archive."""

    def h5(file: h5py.File) -> None:
        del file[_first(file)]

    _change_cells(archive_of(release, session), h5, lambda chans: chans.remove(min(chans)))
    return "the cell list names it, but no archive holds it"


def cell_without_spikes(release: Path, session: str) -> str:
    """The JSON names a cell that has no spike times."""

    def h5(file: h5py.File) -> None:
        del file[_first(file)]

    _change_cells(archive_of(release, session), h5, lambda _: None)
    return "its JSON names it, but there are no spike times"


def unnamed_cell(release: Path, session: str) -> str:
    """The JSON does not name a cell that has spike times."""
    archive = archive_of(release, session)
    _change_cells(archive, lambda _: None, lambda chans: chans.remove(min(chans)))
    return "the JSON does not name it"


def unlisted_cell(release: Path, session: str) -> str:
    """The archive holds a cell that is not listed."""

    def h5(file: h5py.File) -> None:
        file[f"{session}-999-9"] = [0.5]

    _change_cells(archive_of(release, session), h5, lambda _: None)
    return "the cell list does not name it"


def without_an_archive(release: Path, session: str) -> str:
    """The archive is not there."""
    archive_of(release, session).unlink()
    return f"holds a cell of {session}"


def left_out(release: Path, session: str) -> str:
    """The user leaves the session out."""
    from builders.shards.excluded import read_excluded, write_excluded

    corpus = "wingert2026"
    write_excluded(corpus, {**read_excluded(corpus), session: "it is not trusted"})
    return "left out by `builders exclude`: it is not trusted"


KINDS = (
    without_an_end,
    overlapping,
    cut_short,
    never_ended,
    dropped_cell,
    cell_without_spikes,
    unnamed_cell,
    unlisted_cell,
    without_an_archive,
    left_out,
)
