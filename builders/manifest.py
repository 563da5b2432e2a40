"""``MANIFEST.json``: what an exported repository holds, and what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from builders.errors import CorpusError
from builders.files import replace_file
from builders.notes import Note

MANIFEST = "MANIFEST.json"


@dataclass(frozen=True)
class File:
    """A file that is no shard: its size in bytes, and its sha256."""

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
        Their size in bytes as Arrow tables, which is what `datasets` calls ``num_bytes``.
    filtered : dict of str to (int, int)
        The same two for each config that reads the shard through a filter.
    etag : str
        What `corpus://` said of it when it was written.
    code, version : str
        Key of the code that wrote it, and version of the package.
    sources : dict of str to str
        The archives, or the files that they were unpacked into, and their checksums.
    notes : list of Note
        What is left out of it, shortened, matched by number, or missing.
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
        """How many rows a config reads from it, and their bytes in memory."""
        rows, memory = self.filtered.get(config, (self.rows, self.memory))
        return rows, memory


def _shard(filtered: dict[str, list[int]], notes: Sequence[Any] = (), **fields: Any) -> Shard:
    """Of its JSON, which knows no tuples and no notes."""
    sizes = {config: (rows, memory) for config, (rows, memory) in filtered.items()}
    return Shard(filtered=sizes, notes=[Note(**each) for each in notes], **fields)


@dataclass
class Manifest:
    """What a repository holds.

    Attributes
    ----------
    corpus, source : str
        Name of the corpus; where its release is published.
    configs : list of str
        The configs that were asked for, in all exports into this repository.
    lists : dict of str to str
        The release's lists of cells and their checksums: no archives, yet they decide on all.
    excluded : dict of str to str
        What the user leaves out of the corpus, and why.
    files : dict of str to File
        Whatever is no shard, by path; but for the manifest itself.
    shards : dict of str to Shard
        By path.
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
        """Equal content gives equal bytes."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes, where: object = MANIFEST) -> Manifest:
        """The manifest of these bytes; a `CorpusError` if they are none."""
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
        """What differs from the manifest, a line each; no line: nothing does.

        Parameters
        ----------
        sizes : mapping of str to int
            The files that are there, and their sizes in bytes. Hidden ones do not count.
        checksum_of : callable
            Gives the sha256 of one of them. It is asked for files of the right size alone.
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
    """Raise where files lie that no manifest says are ours: they are not to be replaced.

    Parameters
    ----------
    paths : iterable of str
        All files. Hidden ones do not count.
    where : object
        What holds them, for the message.
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
    """What a manifest says of a file with this content."""
    return File(len(content), sha256(content))


def sha256(content: bytes) -> str:
    """The checksum, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def is_hidden(path: str) -> bool:
    """Whether a file, or a folder that it lies in, has a name that begins with a dot."""
    return any(part.startswith(".") for part in path.split("/"))


class Folder:
    """A folder on disk or in an object store, by any address that fsspec knows.

    Parameters
    ----------
    url : str
        ``exported``, ``/data/exported``, ``s3://bucket/exported``, ``hf://datasets/me/exported``;
        what else is needed, such as keys, comes from the environment or from fsspec's
        configuration.
    """

    def __init__(self, url: str) -> None:
        try:
            self._filesystem, self._root = url_to_fs(url)
        except (ValueError, ImportError, OSError) as error:
            raise CorpusError(f"cannot use {url}", why=error) from error
        self.url = str(self._filesystem.unstrip_protocol(self._root))

    @property
    def path(self) -> Path | None:
        """The folder on this machine; None for one elsewhere."""
        return Path(self._root) if isinstance(self._filesystem, LocalFileSystem) else None

    def sizes(self) -> dict[str, int]:
        """All files by relative path, and their sizes in bytes."""
        with self.reached():
            self._filesystem.invalidate_cache()
            found = self._filesystem.find(self._root, detail=True)
        if self._root in found:
            raise CorpusError("cannot use a folder", where=self.url, why="it is a file")
        start = len(self._root.rstrip("/")) + 1
        return {path[start:]: int(each["size"] or 0) for path, each in found.items()}

    def read(self, path: str) -> bytes:
        """Content of a file."""
        return bytes(self._filesystem.cat_file(self._full(path)))

    def sha256(self, path: str) -> str:
        """Checksum of a file, in hexadecimal."""
        return sha256(self.read(path))

    def write(self, path: str, content: bytes) -> None:
        """Put a file there, as a whole or not at all."""
        if isinstance(self._filesystem, LocalFileSystem):
            replace_file(Path(self._full(path)), content)
        else:
            self._filesystem.pipe_file(self._full(path), content)

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._filesystem.rm_file(self._full(path))

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Turn what can go wrong with it into an error that says where."""
        try:
            yield
        except CorpusError:
            raise
        except Exception as error:  # each kind of object store has errors of its own
            raise CorpusError(
                "cannot use a folder",
                where=self.url,
                why=error if str(error) else type(error).__name__,
                fix="check the address, the permissions, and an object store's keys",
            ) from error

    def _full(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"


def verify(url: str) -> list[str]:
    """Compare a folder with its manifest; every file is read.

    Parameters
    ----------
    url : str
        As for `Folder`.

    Returns
    -------
    list of str
        What is missing, other than it should be, or too many, a line each.

    Raises
    ------
    CorpusError
        If there is no manifest.
    """
    folder = Folder(url)
    sizes = folder.sizes()
    if MANIFEST not in sizes:
        raise CorpusError(
            f"there is no {MANIFEST}",
            where=folder.url,
            why=f"{len(sizes)} other files are there",
            fix="name the folder that was given to `builders export --out`",
        )
    with folder.reached():
        manifest = Manifest.from_json(folder.read(MANIFEST), f"{folder.url}/{MANIFEST}")
        return manifest.problems(sizes, folder.sha256)
