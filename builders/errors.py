"""The one error and the one warning of the catalogue, and how the error's messages are built."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CorpusError(RuntimeError):
    """What a user, or a file, did wrong: what failed, where, why, and what to do next.

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
        parts = (("in:  ", where), ("why: ", why), ("next:", fix))
        super().__init__(
            "\n".join([what, *(f"  {label} {text}" for label, text in parts if str(text))])
        )


class CorpusWarning(UserWarning):
    """What a user should know before it happens, or about what was read."""


def unknown(kind: str, name: str, valid: Iterable[str], *, where: object = "") -> CorpusError:
    """The error for a name that does not exist: the near matches, then all valid names."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return CorpusError(
        f"unknown {kind} {name!r}", where=where, fix=f"{hint}valid names: {', '.join(names)}"
    )
