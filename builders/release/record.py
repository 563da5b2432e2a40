"""Access to the files of a release on the web: their list, and their bytes.

The API: https://developers.zenodo.org/#records
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from datasets.utils import tqdm

from builders.errors import CorpusError, unknown
from builders.files import locked, replace_file
from builders.release.download import fetch, forget
from builders.release.http import Failed, Refused, endpoint, get_json
from builders.release.zips import Damaged
from builders.texts import redacted

#: Limit for a file's size in bytes: a petabyte. A larger number is not a valid size.
LARGEST_LISTING = 10**15
#: How a checksum is written, with its kind.
CHECKSUM = re.compile(r"(md5(?=:.{32}$)|sha256(?=:.{64}$)):([0-9a-f]+)")
#: Errors that an invalid list of files can cause.
BAD_LISTING = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Published:
    """Size in bytes of a file, its checksum in hexadecimal digits, and the checksum's kind."""

    size: int
    checksum: str
    algorithm: str = "md5"


class RemoteFiles:
    """The files of a release, somewhere on the web; a subclass says where.

    Parameters
    ----------
    corpus : str
        Name of the corpus.
    source : str
        Web address of the release, for the error messages.
    folder : Path
        Where the list of files is stored, and where a user may put the files.
    published : mapping of str to str
        The files -> their checksums, as far as they are known in advance.
    number : int
        Names the stored list.
    """

    def __init__(
        self, corpus: str, source: str, folder: Path, published: Mapping[str, str], number: int
    ) -> None:
        self.corpus = corpus
        self.source = source
        self.folder = folder
        self.published = published
        self.number = number
        self._bar: tqdm | None = None
        self._note = folder / f".record-{number}.json"

    @property
    def title(self) -> str:
        """What the files are of, for messages."""
        return f"the release of {self.corpus}"

    @property
    def where(self) -> str:
        """The address that is asked for the list of files, for messages."""
        return redacted(self.source)

    def _addresses(self, name: str) -> list[str]:
        """The addresses of a file; the first is tried first."""
        raise NotImplementedError

    def _ask(self) -> dict[str, Published]:
        """Ask for the list of files."""
        raise NotImplementedError

    def _how_to_be_let_in(self) -> str:
        """What to do if the server lets nobody in, for messages."""
        return "see whether the address needs a login"

    @contextmanager
    def one_bar(self, total: int) -> Iterator[None]:
        """Show one progress bar, of `total` bytes, for all files fetched inside the context."""
        with tqdm(total=total, unit="B", unit_scale=True) as self._bar:
            try:
                yield
            finally:
                self._bar = None

    @property
    def by_hand(self) -> str:
        """How a user can download the files by hand, for messages."""
        return (
            f"download the files with a browser from {self.source} into {self.folder}, or into a "
            f"folder that {self.corpus.upper()}_DATA names"
        )

    def files(self) -> dict[str, Published]:
        """Name -> size and md5 of the files; asks the API only the first time."""
        if not (known := self.known()):
            with making(self._note):
                if not (known := self.known()):
                    self._check_online("the list of files")
                    known = self._ask()
                    listed = {name: _listed(file) for name, file in known.items()}
                    note = {"files": listed, "sha256": _checksum(listed)}
                    replace_file(self._note, json.dumps(note).encode())
        return known

    def known(self) -> dict[str, Published]:
        """As `files`, but without a request: empty until the API has been asked once.

        Also empty if the stored list does not match its checksum, or lacks a file.
        """
        try:
            note = json.loads(self._note.read_bytes())
            if note["sha256"] != _checksum(note["files"]):
                return {}
            return {name: _published(note["files"][name]) for name in self.published}
        except (OSError, *BAD_LISTING):
            return {}

    def file(self, name: str) -> Published:
        """Size and md5 of one of the files."""
        if not (files := self.known()):
            self._check_online(name)
            files = self.files()
        if name not in files:
            raise unknown(f"file of {self.title}", name, files)
        return files[name]

    def fetch(
        self,
        name: str,
        part: Path,
        start: int,
        stop: int,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Fetch bytes of a file into `part`, then call `check`.

        Parameters
        ----------
        name : str
            The file.
        part : Path
            Where the bytes go. A transfer that an earlier process left there is resumed.
        start, stop : int
            The first byte, and the one after the last.
        check : callable
            Raises `Damaged` if the bytes are wrong. If they came in several pieces, the pieces may
            be of different versions: then all bytes are fetched once more, from `start` on.

        Raises
        ------
        NoRanges
            If a part of the file is wanted, but the server sends no parts.
        CorpusError
            If the bytes cannot be fetched.
        Damaged
            From `check`.
        """
        for is_last in (False, True):
            in_one_piece = self._fetch(name, part, start, stop)
            try:
                return check()
            except Damaged:
                forget(part)
                if is_last or in_one_piece:
                    raise

    def _fetch(self, name: str, part: Path, start: int, stop: int) -> bool:
        """Fetch bytes of a file; returns whether they came in one piece."""
        self._check_online(name)
        size = self.file(name).size
        label = part.name.strip(".").removesuffix(".part")
        with ExitStack() as stack:
            bar = self._bar or stack.enter_context(
                tqdm(
                    desc=f"Fetching {label}",
                    total=stop - start,
                    unit="B",
                    unit_scale=True,
                    leave=False,
                    delay=1,
                )
            )
            try:
                return fetch(self._addresses(name), part, start, stop, size, bar)
            except Failed as error:
                raise self._failed(name, error, part) from error

    def _check_online(self, name: str) -> None:
        for variable in ("BUILDERS_OFFLINE", "HF_HUB_OFFLINE"):
            if os.environ.get(variable, "").lower() in ("1", "true", "yes", "on"):
                raise CorpusError(
                    f"cannot fetch {name} of {self.title}",
                    where=self.folder,
                    why=f"it is not on this machine, and {variable} is set",
                    fix=f"run `builders fetch {self.corpus}` where there is a network and "
                    f"BUILDERS_HOME is the same; or unset {variable}; or {self.by_hand}",
                )

    def _failed(self, name: str, error: Failed, part: Path | None = None) -> CorpusError:
        if isinstance(error, Refused) and error.is_blocked:
            fix = self._how_to_be_let_in()
        else:
            is_kept = part is not None and part.exists()
            fix = f"load again{': what has been fetched so far is kept' if is_kept else ''}"
        return CorpusError(
            f"cannot fetch {name} of {self.title}",
            where=error.url,
            why=error.why,
            fix=f"{fix}; or {self.by_hand}",
        )


class ZenodoRecord(RemoteFiles):
    """A Zenodo record, and the files of it that a corpus reads.

    Parameters
    ----------
    corpus, source, folder
        As for `RemoteFiles`.
    published : mapping of str to str
        The files -> their md5; empty if not known in advance. The API must agree with it.
    number : int
        Number of the record.
    """

    @property
    def title(self) -> str:
        return f"Zenodo record {self.number}"

    @property
    def where(self) -> str:
        return redacted(self._url())

    def _url(self) -> str:
        return f"{endpoint()}/api/records/{self.number}"

    def _addresses(self, name: str) -> list[str]:
        """Addresses of a file: first one that is known to send parts, then the API's."""
        key = quote(name)
        return [
            f"{endpoint()}/records/{self.number}/files/{key}?download=1",
            f"{self._url()}/files/{key}/content",
        ]

    def _ask(self) -> dict[str, Published]:
        try:
            listed = {each["key"]: each for each in get_json(self._url())["files"]}
            files = {name: _published(listed[name], "md5") for name in self.published}
        except Failed as error:
            raise self._failed("the list of files", error) from error
        except BAD_LISTING as error:
            raise CorpusError(
                f"cannot read the list of files of {self.title}",
                where=self.where,
                why=f"not what the record API answers for it: {error!r:.200}",
                fix=f"load again; or {self.by_hand}",
            ) from error
        for name, expected in self.published.items():
            if expected not in ("", files[name].checksum):
                raise CorpusError(
                    f"{self.title} is not the release that {self.corpus} reads",
                    where=self.where,
                    why=f"{name}: expected md5 {expected}, found {files[name].checksum}",
                    fix="look for a newer version of this package",
                )
        return files

    def _how_to_be_let_in(self) -> str:
        if os.environ.get("ZENODO_TOKEN"):
            return "see whether the token in ZENODO_TOKEN is still valid, or unset it"
        return (
            "wait for an hour, then load again; or put a personal access token of your account on "
            "Zenodo into the environment variable ZENODO_TOKEN, so that Zenodo knows you"
        )


@contextmanager
def making(path: Path) -> Iterator[None]:
    """Hold the lock for making a file; an `OSError` becomes a `CorpusError`."""
    try:
        with locked(path.with_name(f".{path.name.lstrip('.')}.lock")):
            yield
    except OSError as error:
        raise CorpusError(
            "cannot store a file of the release",
            where=path,
            why=error,
            fix="make room and check permissions, or set BUILDERS_HOME to another folder",
        ) from error


def _checksum(listed: object) -> str:
    return sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


def _listed(file: Published) -> dict[str, Any]:
    """A file as the API describes it."""
    return {"size": file.size, "checksum": f"{file.algorithm}:{file.checksum}"}


def _published(listed: Mapping[str, Any], *algorithms: str) -> Published:
    size, checksum = listed["size"], listed["checksum"]
    if type(size) is not int or not 0 <= size <= LARGEST_LISTING:
        raise ValueError(f"size {size!r}")
    found = CHECKSUM.fullmatch(checksum)
    if not found or (algorithms and found[1] not in algorithms):
        raise ValueError(f"checksum {checksum!r}")
    return Published(size, found[2], found[1])
