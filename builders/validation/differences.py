"""The differences between shards and the slow reading of the release."""

from __future__ import annotations

from dataclasses import dataclass, field

from builders.errors import CorpusError
from builders.validation.reference import Key


@dataclass(frozen=True)
class Difference:
    """One difference between a shard and the reference, or between two archives."""

    shard: str
    archive: str
    what: str

    def __str__(self) -> str:
        return f"{self.shard}, from {self.archive}: {self.what}"


@dataclass
class Comparison:
    """How much was compared, and what differs.

    Attributes
    ----------
    passes : int
        Number of passes over raw files that the reference has made.
    shards : list of str
        Paths, or globs, of the shards that were compared.
    rows, compared : int
        Rows of these shards, and how many of them were compared value by value.
    differences : list of Difference
        The differences. An archive or a shard that cannot be read counts as one.
    leaks : list of str
        One line for each stimulus that is est at one site and val at another.
    """

    passes: int = 0
    leaks: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)
    rows: int = 0
    compared: int = 0
    differences: list[Difference] = field(default_factory=list)


def name_of(key: Key) -> str:
    """A row's name for messages: its stimulus, and its cell if it has one."""
    return " of ".join([key[0], *([key[1]] if key[1] else [])])


def message_of(error: Exception) -> str:
    """The text of an error; of one that nobody expected, with its type."""
    return str(error) if isinstance(error, CorpusError) else f"{type(error).__name__}: {error}"
