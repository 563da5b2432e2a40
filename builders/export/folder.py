"""The folder or object store that an export is written to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from builders.errors import CorpusError
from builders.export.manifest import MANIFEST, Manifest, sha256
from builders.files import replace_file


class Folder:
    """A folder on disk or in an object store, at any address that fsspec knows.

    Parameters
    ----------
    url : str
        ``exported``, ``/data/exported``, ``s3://bucket/exported``, ``hf://datasets/me/exported``;
        other settings, such as keys, come from the environment or from fsspec's
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
        """The path of the folder if it is on this machine, else None."""
        return Path(self._root) if isinstance(self._filesystem, LocalFileSystem) else None

    def sizes(self) -> dict[str, int]:
        """The size in bytes of each file, by relative path."""
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
        """Write a file as a whole or not at all."""
        if isinstance(self._filesystem, LocalFileSystem):
            replace_file(Path(self._full(path)), content)
        else:
            self._filesystem.pipe_file(self._full(path), content)

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._filesystem.rm_file(self._full(path))

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Turn any error inside this context into a `CorpusError` that names the folder."""
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


def verify_folder(url: str) -> list[str]:
    """Compare a folder with its manifest; reads every file.

    Parameters
    ----------
    url : str
        As for `Folder`.

    Returns
    -------
    list of str
        One line per file that is missing, changed, or not in the manifest; empty if all match.

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
