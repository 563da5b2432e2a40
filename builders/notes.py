"""Notes: what of a release was left out, shortened, matched by number, or is missing.

A release is read on where the values that are returned are right, and a note says what is not
there. An error is for values that would be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Note:
    """One thing that a user of the data should know.

    Attributes
    ----------
    session : str
        The session that it is about; empty where it is about the release as a whole.
    subject : str
        What it is about: a stimulus, a cell, a file.
    text : str
        What is the matter with it, in a short sentence.
    """

    session: str
    subject: str
    text: str

    def __str__(self) -> str:
        where = [part for part in (self.session, self.subject) if part]
        return f"{': '.join(where)}: {self.text}" if where else self.text
