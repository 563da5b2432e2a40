"""The errors and the warning that this package raises, and how their messages are built."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from builders.texts import shown

#: How many valid names a message lists.
MOST_NAMES = 100


class CorpusError(RuntimeError):
    """A problem with the input or with a file: what failed, where, why, and what to do next.

    Control characters in the message are escaped, and passwords in addresses are hidden.

    This is a `RuntimeError` and not a `FileNotFoundError`: while `datasets` resolves globs, it
    catches a `FileNotFoundError` and reports "no data files" instead. Only `MissingError` is both,
    and a glob never raises it.

    Parameters
    ----------
    what : str
        What could not be done.
    where : object, optional
        The file, or the archive and the member in it.
    why : object, optional
        What was found instead of what was expected.
    fix : str, optional
        What to do next.

    Examples
    --------
    >>> print(CorpusError("cannot read the spike times", where="a.tgz: a.resp.h5", why="truncated"))
    cannot read the spike times
      in:   a.tgz: a.resp.h5
      why:  truncated
    """

    def __init__(self, what: str, *, where: object = "", why: object = "", fix: str = "") -> None:
        self.why = str(why)
        parts = (("in:  ", where), ("why: ", why), ("next:", fix))
        lines = [what, *(f"  {label} {text}" for label, text in parts if str(text))]
        super().__init__(shown("\n".join(lines)))


class MissingError(CorpusError, FileNotFoundError):
    """A path of ``corpus://`` that does not exist; also a `FileNotFoundError`, as tools expect."""


class RecordingError(CorpusError):
    """A part of a recording cannot be read, or its content is ambiguous.

    Parameters
    ----------
    what : str
    where, why : object
        As in `CorpusError`.
    unit : str
        The affected part of the corpus, under the name that `builders exclude` takes: a session,
        a cell id, or a ``stim_id``.
    corpus : str
        Name of the corpus. It is known where shards are written, but not where recordings are read.
    is_published : bool
        Whether the file has the published checksum. Then downloading it again does not help.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = "",
        why: object = "",
        unit: str = "",
        corpus: str = "",
        is_published: bool = False,
    ) -> None:
        fix = "compare the file with the published one; where they differ, download it again"
        if is_published:
            fix = "the file is as published, its checksum agrees: please tell its authors"
        if corpus and unit:
            fix += f'; to go on without it: builders exclude {corpus} {unit} --because "..."'
        super().__init__(what, where=where, why=why, fix=fix)
        self._fields: dict[str, Any] = {
            **{"what": what, "where": str(where), "why": str(why)},
            **{"unit": unit, "corpus": corpus, "is_published": is_published},
        }

    def of(self, corpus: str, session: str) -> RecordingError:
        """A copy of this error whose message says how to exclude the affected part."""
        unit = self._fields["unit"] or session
        return RecordingError(**{**self._fields, "corpus": corpus, "unit": unit})

    def about(self, unit: str) -> RecordingError:
        """A copy of this error that names `unit` as the only affected part of the corpus."""
        return RecordingError(**{**self._fields, "unit": unit})

    def __reduce__(self) -> Any:
        return partial(RecordingError, **self._fields), ()


@contextmanager
def spoiling(unit: str) -> Iterator[None]:
    """Context in which every `RecordingError` names `unit` as the affected part of the corpus."""
    try:
        yield
    except RecordingError as error:
        raise error.about(unit) from error


class CorpusWarning(UserWarning):
    """Something that users of the data should know, but need not act on."""


def unknown(
    kind: str,
    name: str,
    valid: Iterable[str],
    *,
    where: object = "",
    why: str = "",
    error: type[CorpusError] = CorpusError,
) -> CorpusError:
    """The error for an unknown name; its message lists similar names, then all valid names."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    listed = ", ".join(names[:MOST_NAMES]) or "none"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    fix = f"{hint}valid names: {listed}{more}"
    return error(f"unknown {kind} {name!r}", where=where, why=why, fix=fix)
