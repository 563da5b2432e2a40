"""Notes: what of a release was left out, shortened, matched by number, or is missing.

A release is read on where the values that are returned are right, and a note says what is not
there. An error is for values that would be wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from builders.texts import shown


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
        return shown(f"{': '.join(where)}: {self.text}" if where else self.text)


class Notes:
    """The notes of some shards, gathered while they are made; by several threads at once."""

    def __init__(self) -> None:
        self._of_shard: dict[str, dict[Note, None]] = {}

    def add(self, path: str, note: Note) -> None:
        """Add a note to a shard; the same one twice is one."""
        self._of_shard.setdefault(path, {})[note] = None

    def of(self, path: str) -> list[Note]:
        """The notes of a shard, in order."""
        return sorted(self._of_shard.get(path, ()))


def to_json(notes: Iterable[Note]) -> bytes:
    """Equal notes give equal bytes."""
    return json.dumps([asdict(note) for note in notes], indent=1).encode()


def from_json(content: bytes) -> list[Note]:
    """The notes of these bytes."""
    return [Note(**each) for each in json.loads(content)]
