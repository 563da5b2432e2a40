"""``MANIFEST.json``: what an exported repository holds, and what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from builders.errors import CorpusError
from builders.shards.notes import Note

MANIFEST = "MANIFEST.json"


@dataclass(frozen=True)
class File:
    """A file of the repository: its size in bytes, and its sha256."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Shard(File):
    """A shard.

    Attributes
    ----------
    rows : int
        Number of rows.
    memory : int
        Size of the rows in bytes as Arrow tables, which `datasets` calls ``num_bytes``.
    filtered : dict of str to (int, int)
        `rows` and `memory` for each config that reads the shard through a filter.
    etag : str
        The ETag that `corpus://` gave for the shard when it was written.
    code, version : str
        Key of the code that wrote the shard, and version of the package.
    sources : dict of str to str
        The archives, or the files that they were unpacked into, and their checksums.
    notes : list of Note
        What is left out of the shard, shortened, matched by number, or missing.
    """

    rows: int
    memory: int
    filtered: dict[str, tuple[int, int]]
    etag: str
    code: str
    version: str
    sources: dict[str, str]
    notes: list[Note] = field(default_factory=list)

    def size(self, config: str) -> tuple[int, int]:
        """How many rows a config reads from the shard, and their bytes in memory."""
        rows, memory = self.filtered.get(config, (self.rows, self.memory))
        return rows, memory


def _shard(filtered: dict[str, list[int]], notes: Sequence[Any] = (), **fields: Any) -> Shard:
    """Make a shard from its JSON fields, which have lists for tuples and dicts for notes."""
    sizes = {config: (rows, memory) for config, (rows, memory) in filtered.items()}
    return Shard(filtered=sizes, notes=[Note(**each) for each in notes], **fields)


@dataclass
class Manifest:
    """What a repository holds.

    Attributes
    ----------
    corpus, source : str
        Name of the corpus, and the address where its release is published.
    configs : list of str
        The configs that were requested, in all exports into this repository.
    lists : dict of str to str
        Checksums of the release's cell lists; all shards depend on these lists.
    excluded : dict of str to str
        What the user excluded from the corpus, and why.
    files : dict of str to File
        All files, by path, that are neither shards nor the manifest itself.
    shards : dict of str to Shard
        The shards, by path.
    """

    corpus: str
    source: str = ""
    configs: list[str] = field(default_factory=list)
    lists: dict[str, str] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    shards: dict[str, Shard] = field(default_factory=dict)

    def notes(self) -> list[Note]:
        """The notes of all shards, each once."""
        return sorted({note for shard in self.shards.values() for note in shard.notes})

    def to_json(self) -> bytes:
        """The manifest as JSON; equal content gives equal bytes."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes, where: object = MANIFEST) -> Manifest:
        """Read a manifest from JSON; raises a `CorpusError` if that fails."""
        try:
            fields: dict[str, Any] = json.loads(content)
            fields["files"] = {path: File(**each) for path, each in fields["files"].items()}
            fields["shards"] = {path: _shard(**each) for path, each in fields["shards"].items()}
            return cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorpusError(
                "cannot read a manifest",
                where=where,
                why=repr(error),
                fix="give another place; or remove all that lies there, and export again",
            ) from error

    def problems(self, sizes: Mapping[str, int], checksum_of: Callable[[str], str]) -> list[str]:
        """One line per difference from the manifest; empty if all files match.

        Parameters
        ----------
        sizes : mapping of str to int
            Size in bytes of each existing file. Hidden files are ignored.
        checksum_of : callable
            Returns the sha256 of a file; called only for files of the right size.
        """
        found = []
        for path, expected in sorted({**self.files, **self.shards}.items()):
            if path not in sizes:
                found.append(f"{path}: missing")
            elif sizes[path] != expected.bytes:
                found.append(f"{path}: {sizes[path]} bytes, expected {expected.bytes}")
            elif (checksum := checksum_of(path)) != expected.sha256:
                found.append(f"{path}: sha256 {checksum}, expected {expected.sha256}")
        known = {MANIFEST, *self.files, *self.shards}
        found += [
            f"{path}: not in {MANIFEST}"
            for path in sorted(set(sizes) - known)
            if not is_hidden(path)
        ]
        return found


def check_own(paths: Iterable[str], where: object) -> None:
    """Raise a `CorpusError` if files exist but no manifest: they might not be ours to replace.

    Parameters
    ----------
    paths : iterable of str
        All files. Hidden files are ignored.
    where : object
        Name of the place, for the message.
    """
    others = sorted(path for path in paths if not is_hidden(path))
    if others and MANIFEST not in others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        raise CorpusError(
            "cannot write where other files are",
            where=where,
            why=f"{', '.join(others[:5])}{more} lie there, and no {MANIFEST}",
            fix="give an empty or a new place, or one that an earlier export has written",
        )


def file_of(content: bytes) -> File:
    """The entry in a manifest for a file with this content."""
    return File(len(content), sha256(content))


def sha256(content: bytes) -> str:
    """The sha256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def is_hidden(path: str) -> bool:
    """Whether the name of a file, or of a folder that holds it, begins with a dot."""
    return any(part.startswith(".") for part in path.split("/"))
