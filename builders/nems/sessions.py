"""Finds the archives that hold a session.

File names are only a first guess: some archives carry another session's name. The cell ids inside
an archive decide what it holds. Thanks to the guess, opening one site does not read all archives
of a release.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builders.conventions import RESPONSE, session_of
from builders.errors import CorpusError
from builders.files import home, replace_file
from builders.nems.recording import read_signals
from builders.nems.signal import Signal
from builders.release.archive import Archive


@dataclass(frozen=True)
class Candidates:
    """The archives that may hold a session, judged by their names.

    Attributes
    ----------
    named : list of Archive
        Archives named after the session.
    found : list of Archive
        Other archives in which an earlier search found the session.
    alike : list of Archive
        Of the archives named after no listed session, the ones whose name shares the longest
        prefix with the session's name.
    """

    named: list[Archive]
    found: list[Archive]
    alike: list[Archive]

    @property
    def first(self) -> list[Archive]:
        """The archives to read first: `named`, or `alike` if no archive is named after the session.

        The archives in `found` are added.
        """
        likely = self.named or self.alike
        return likely + [each for each in self.found if each not in likely]


def candidates(archives: Sequence[Archive], session: str, listed: Collection[str]) -> Candidates:
    """Find the archives that may hold a session, by their names; opens no archive.

    Archives are named ``<session>_<hash>.tgz``, or ``<area>_<session>_<hash>.tgz``.

    Parameters
    ----------
    archives : sequence of Archive
        All archives that may hold a session.
    session : str
        The session.
    listed : collection of str
        All sessions of the release's cell list.
    """
    names = [_named_after(each) for each in archives]
    named = [each for each, name in zip(archives, names, strict=True) if name == session]
    others = [
        (each, _common_prefix(name, session))
        for each, name in zip(archives, names, strict=True)
        if name not in listed and name != session
    ]
    longest = max((n for _, n in others), default=0)
    alike = [each for each, n in others if n == longest]
    memo: list[str] = []
    with suppress(OSError, UnicodeDecodeError):  # never written, or deleted just now
        memo = _memo(archives, session).read_text("utf-8").splitlines()
    found = [each for each in archives if each.name in memo and each not in named]
    return Candidates(named, found, alike)


def read_session(
    archives: Sequence[Archive],
    session: str,
    listed: Collection[str],
    name: str,
    *,
    data: bool = True,
    cells: Collection[str] = (),
    session_of: Callable[[str], str] = session_of,
) -> list[Signal]:
    """Find a session by the cell ids inside the archives, and read one of its signals.

    An archive that cannot be read, or that has no response, is skipped. But if it is named after
    the session, its error is raised: without its content the result would be incomplete.

    Parameters
    ----------
    archives, session, listed
        As for `candidates`.
    name : str
        Name of the signal.
    data : bool
        Whether to read the signal's data as well.
    cells : collection of str
        The session's cells in the cell list. While some of them are missing, archives named after
        no listed session are searched, too.
    session_of : callable
        Maps a cell id to its session.

    Returns
    -------
    list of Signal
        One for each archive that holds cells of the session, archives named after it first. Empty
        if no archive holds any.

    Raises
    ------
    CorpusError
        If an archive cannot be read, and either it is named after the session, or no other archive
        holds the session.
    """
    of_session = candidates(archives, session, listed)
    parts: list[Signal] = []
    failures: list[CorpusError] = []
    held: set[str] = set()
    looked: set[Archive] = set()

    def look(archive: Archive) -> bool:
        """Read an archive; return whether it holds cells of the session."""
        looked.add(archive)
        try:
            signal, inside = _look_inside(archive, name, data)
        except CorpusError as error:
            if archive in of_session.named:
                raise
            failures.append(error)
            return False
        if inside is None:  # its cells are unknown: its name decides
            own, is_part = set(), archive in of_session.named
        else:
            own = {cell for cell in inside if session_of(cell) == session}
            is_part = bool(own)
        if is_part:
            parts.append(signal)
        held.update(own)
        return is_part

    for archive in of_session.first:
        look(archive)
    found = []
    for archive in _rest(archives, of_session):
        if parts and held.issuperset(cells):
            break
        if archive in looked or (parts and not _is_near(archive, session, listed)):
            continue
        if look(archive):
            found.append(archive.name)
    if found:
        # Remembered, so that the shards' ETag depends on these archives from now on.
        names = [each.name for each in of_session.found] + found
        replace_file(_memo(archives, session), "\n".join(names).encode())
    if failures and not parts:
        raise failures[0]
    return parts


def _look_inside(archive: Archive, name: str, data: bool) -> tuple[Signal, set[str] | None]:
    """Read a signal of an archive, and the ids of the cells that the archive holds.

    The ids are None if the signal is not the response, and the response cannot be read.
    """
    wanted = {name} if data else set()
    signals = read_signals(archive, wanted, {name, RESPONSE})
    response = signals.get(RESPONSE)
    if response and not response.channels and not response.data:
        # Its JSON does not name the cells, so read its data, which does.
        signals = read_signals(archive, {*wanted, RESPONSE}, {name})
        response = signals[RESPONSE]
    if name not in signals:
        signals |= read_signals(archive, {name})  # raises, and says what is wrong
    if response is None and name != RESPONSE:
        return signals[name], None
    return signals[name], signals[RESPONSE].known_cells()


def no_archive(session: str, archives: Sequence[Archive]) -> str:
    """The message for a session that no archive holds."""
    where = f" in {archives[0].path.parent}" if archives else ""
    return f"none of {len(archives)} archives{where} holds a cell of {session}"


def _is_near(archive: Archive, session: str, listed: Collection[str]) -> bool:
    """Whether to search an archive for missing cells of a session.

    True if it is named after no listed session. The name of an archive that would have to be
    fetched must also begin with the session's name, whose last letter is ignored.
    """
    name = _named_after(archive)
    return name not in listed and (
        archive.fetch is None or _common_prefix(name, session) >= len(session) - 1
    )


def _rest(archives: Sequence[Archive], of_session: Candidates) -> Iterator[Archive]:
    """All archives, the likely ones first."""
    yield from of_session.alike
    yield from (each for each in archives if each not in of_session.alike)


def _common_prefix(name: str, session: str) -> int:
    return next((n for n in range(len(session), 0, -1) if name.startswith(session[:n])), 0)


def _named_after(archive: Archive) -> str:
    parts = archive.name.removesuffix(".tgz").split("_")
    return parts[-2] if len(parts) > 1 else parts[0]


def _memo(archives: Sequence[Archive], session: str) -> Path:
    folder = str(archives[0].path.parent) if archives else ""
    name = hashlib.sha256(folder.encode()).hexdigest()[:32]
    return home() / "releases" / "found" / name / session
