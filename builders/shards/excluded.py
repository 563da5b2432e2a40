"""What the user has decided to leave out of a corpus, and why.

One unreadable archive must not block all others. The user's decision is stored in
``$BUILDERS_HOME/excluded/<corpus>.json``, and every load that it affects says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from builders.conventions import STIM
from builders.errors import CorpusError, unknown
from builders.files import home, replace_file


def read_excluded(corpus: str) -> dict[str, str]:
    """What is left out of a corpus: session, cell id or ``stim_id`` -> reason.

    Raises
    ------
    CorpusError
        If the file cannot be read.
    """
    path = _file(corpus)
    try:
        listed = json.loads(path.read_bytes())
        if not all(isinstance(each, str) for pair in listed.items() for each in pair):
            raise ValueError("it holds more than names and reasons")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise CorpusError(
            f"cannot read what is left out of {corpus}",
            where=path,
            why=error,
            fix="mend it by hand, or delete it, and call `builders exclude` again",
        ) from error
    return dict(sorted(listed.items()))


def write_excluded(corpus: str, excluded: dict[str, str]) -> None:
    """Store what to leave out of a corpus."""
    replace_file(_file(corpus), json.dumps(excluded, indent=1, sort_keys=True).encode())


def check_unit(unit: str, sessions: Iterable[str]) -> None:
    """Raise unless a name can be left out: it must begin with a known session or be a stimulus."""
    session = unit.partition("/")[0].partition("-")[0]
    known = sorted({each for each in sessions if each})
    if session not in known and not unit.startswith(STIM):
        raise unknown("session", session, known)


def of_session(excluded: dict[str, str], session: str) -> dict[str, str]:
    """What is left out of a session: the session itself, or its cells and stimuli."""
    return {
        unit: why
        for unit, why in excluded.items()
        if unit == session or unit.startswith((f"{session}-", f"{session}/"))
    }


def _file(corpus: str) -> Path:
    return home() / "excluded" / f"{corpus}.json"
