"""The errors and the warning of the catalogue, and how their messages are built."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from builders.texts import shown


class CorpusError(RuntimeError):
    """What a user, or a file, did wrong: what failed, where, why, and what to do next.

    Control characters of what is quoted are escaped, and passwords in addresses are hidden.

    It is a `RuntimeError` and never a `FileNotFoundError`: `datasets` swallows the latter while it
    resolves globs, and reports "no data files" in its place.

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


class RecordingError(CorpusError):
    """Something in a recording cannot be read, or can be read in more than one way.

    Parameters
    ----------
    what : str
    where, why : object
        As of `CorpusError`.
    unit : str
        The part of the corpus that is spoiled, as `builders exclude` knows it: a session, a cell
        id, a ``stim_id``.
    corpus : str
        The corpus; it is known where shards are written, and not where recordings are read.
    is_published : bool
        Whether the checksum of the file is the published one: then it is no use to fetch it again.
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
        """The same error, which says how to leave out what it is about."""
        unit = self._fields["unit"] or session
        return RecordingError(**{**self._fields, "corpus": corpus, "unit": unit})

    def about(self, unit: str) -> RecordingError:
        """The same error, which is now known to spoil no more than this part of the corpus."""
        return RecordingError(**{**self._fields, "unit": unit})

    def __reduce__(self) -> Any:
        return partial(RecordingError, **self._fields), ()


@contextmanager
def spoiling(unit: str) -> Iterator[None]:
    """Let whatever is found wrong with a recording in here be `RecordingError.about` this part."""
    try:
        yield
    except RecordingError as error:
        raise error.about(unit) from error


class CorpusWarning(UserWarning):
    """What a user of the data should know, and need not act upon."""


def unknown(kind: str, name: str, valid: Iterable[str], *, where: object = "") -> CorpusError:
    """The error for a name that does not exist: the near matches, then all valid names."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return CorpusError(
        f"unknown {kind} {name!r}", where=where, fix=f"{hint}valid names: {', '.join(names)}"
    )
