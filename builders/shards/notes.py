"""Notes: things in a release that were left out, shortened, matched by number, or are missing.

If the returned values are right, reading goes on, and a note says what is missing. If values would
be wrong, an error is raised instead.
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
        The session that the note is about; empty for the release as a whole.
    subject : str
        What the note is about: a stimulus, a cell or a file.
    text : str
        What is wrong with the subject, in a short sentence.
    """

    session: str
    subject: str
    text: str

    def __str__(self) -> str:
        where = [part for part in (self.session, self.subject) if part]
        return shown(f"{': '.join(where)}: {self.text}" if where else self.text)


class Notes:
    """Collects notes on shards while they are made; several threads may add at once."""

    def __init__(self) -> None:
        self._of_shard: dict[str, dict[Note, None]] = {}

    def add(self, path: str, note: Note) -> None:
        """Add a note to a shard; duplicates count once."""
        self._of_shard.setdefault(path, {})[note] = None

    def of(self, path: str) -> list[Note]:
        """The notes on a shard, sorted."""
        return sorted(self._of_shard.get(path, ()))


def to_json(notes: Iterable[Note]) -> bytes:
    """Serialize notes; equal notes give equal bytes."""
    return json.dumps([asdict(note) for note in notes], indent=1).encode()


def from_json(content: bytes) -> list[Note]:
    """Parse the result of `to_json`."""
    return [Note(**each) for each in json.loads(content)]
