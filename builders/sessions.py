"""Which archive holds which session.

File names are only a first guess: some archives carry another session's name, and what an archive
holds is what the cell ids inside it say. The guess keeps the opening of one site from reading all
archives of a release.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from builders.errors import CorpusError
from builders.members import broken
from builders.nems import Signal, read_signals
from builders.release import Archive, home, replace_file


def candidates(archives: Sequence[Archive], session: str, listed: Collection[str]) -> list[Archive]:
    """The archives that a session is likely to be in, judged by their names; opens none.

    Archives are named ``<session>_<hash>.tgz``, or ``<area>_<session>_<hash>.tgz``.

    Those named after the session, else, of those named after no listed session, the ones whose
    name is most like it; and the archive it was found in before, if that is another one.

    Parameters
    ----------
    archives : sequence of Archive
        All archives that may hold a session.
    session : str
        The session.
    listed : collection of str
        All sessions of the release's cell list.
    """
    named = [each for each in archives if _named_after(each) == session]
    if not named:
        others = [each for each in archives if _named_after(each) not in listed]
        alike = [_common_prefix(_named_after(each), session) for each in others]
        named = [each for each, n in zip(others, alike, strict=True) if n == max(alike)]
    found = b""
    with suppress(OSError):  # never written, or deleted this very moment
        found = _memo(archives, session).read_bytes()
    return named + [each for each in archives if each.name.encode() == found and each not in named]


def read_session(
    archives: Sequence[Archive],
    session: str,
    listed: Collection[str],
    *,
    response: str,
    data: Collection[str],
) -> dict[str, Signal]:
    """Find a session by the cell ids inside the archives, and read its signals.

    Parameters
    ----------
    archives, session, listed
        As for `candidates`.
    response : str
        Name of the signal whose channels are cell ids.
    data : collection of str
        Names of the signals whose data are wanted.

    Raises
    ------
    CorpusError
        If no archive holds the session, or an archive is broken.
    """
    guessed = candidates(archives, session, listed)
    for archive in guessed:
        signals = read_signals(archive, data)
        if _holds(archive, signals, response, session):
            return signals
    for archive in archives:
        if archive not in guessed and _holds(archive, read_signals(archive), response, session):
            # Remembered, so that the shards' ETag follows this archive from now on.
            replace_file(_memo(archives, session), archive.name.encode())
            return read_signals(archive, data)
    where = archives[0].path.parent if archives else ""
    raise CorpusError(
        f"no archive holds session {session}",
        where=where,
        why=f"the cell list names its cells, but none of {len(archives)} archives has one of them",
        fix=f"add the archive of {session} (usually {session}_<hash>.tgz) as published",
    )


def _common_prefix(name: str, session: str) -> int:
    return next((n for n in range(len(session), 0, -1) if name.startswith(session[:n])), 0)


def _named_after(archive: Archive) -> str:
    parts = archive.name.removesuffix(".tgz").split("_")
    return parts[-2] if len(parts) > 1 else parts[0]


def _holds(archive: Archive, signals: dict[str, Signal], response: str, session: str) -> bool:
    if response not in signals:
        raise broken(archive, f"*.{response}.json", f"the archive has no signal {response!r}")
    return any(cell.partition("-")[0] == session for cell in signals[response].channels)


def _memo(archives: Sequence[Archive], session: str) -> Path:
    folder = str(archives[0].path.parent) if archives else ""
    name = hashlib.sha256(folder.encode()).hexdigest()[:32]
    return home() / "releases" / "found" / name / session
