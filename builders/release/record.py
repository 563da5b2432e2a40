"""A record on Zenodo: what it says of its files, and their bytes.

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

#: Bytes of a file: a petabyte. What claims to be larger is no size.
LARGEST = 10**15
#: What a listing that is none can end in.
BAD_LISTING = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Published:
    """A file of a record: its size in bytes, and its md5."""

    size: int
    md5: str


class ZenodoRecord:
    """The files of a record that a corpus reads.

    Parameters
    ----------
    number : int
        Of the record.
    corpus : str
        Name of the corpus.
    source : str
        Where the record is to be seen, for the error messages.
    folder : Path
        Where what it says is kept, and where a user may put its files.
    published : mapping of str to str
        The files, and their md5 where it is known beforehand: the API must agree.

    """

    def __init__(
        self, number: int, corpus: str, source: str, folder: Path, published: Mapping[str, str]
    ) -> None:
        self.number = number
        self.corpus = corpus
        self.source = source
        self.folder = folder
        self.published = published
        self._bar: tqdm | None = None
        self._note = folder / f".record-{number}.json"

    @contextmanager
    def one_bar(self, total: int) -> Iterator[None]:
        """One progress bar for all that is fetched meanwhile, `total` bytes; not one for each."""
        with tqdm(total=total, unit="B", unit_scale=True) as self._bar:
            try:
                yield
            finally:
                self._bar = None

    @property
    def where(self) -> str:
        """Its address, for messages."""
        return redacted(self._url())

    @property
    def by_hand(self) -> str:
        """What a user can do without us, for messages."""
        return (
            f"download the files with a browser from {self.source} into {self.folder}, or into a "
            f"folder that {self.corpus.upper()}_DATA names"
        )

    def files(self) -> dict[str, Published]:
        """The files; the API is asked once."""
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
        """The same without a request: nothing before the first one.

        A note that does not have its checksum counts for nothing, as does one that lacks a file.
        """
        try:
            note = json.loads(self._note.read_bytes())
            if note["sha256"] != _checksum(note["files"]):
                return {}
            return {name: _published(note["files"][name]) for name in self.published}
        except (OSError, *BAD_LISTING):
            return {}

    def file(self, name: str) -> Published:
        """One of the files."""
        if not (files := self.known()):
            self._check_online(name)
            files = self.files()
        if name not in files:
            raise unknown(f"file of Zenodo record {self.number}", name, files)
        return files[name]

    def fetch(
        self,
        name: str,
        part: Path,
        start: int,
        stop: int,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Fetch bytes of a file into `part`, and have them checked.

        Parameters
        ----------
        name : str
            The file.
        part : Path
            Where the bytes go. What an earlier process has left there is taken up.
        start, stop : int
            The first byte, and the one after the last.
        check : callable
            Raises `Damaged` if they are not the right ones. If they came in several pieces, these
            may be of different files: then they are fetched once more, from the first byte on.

        Raises
        ------
        NoRanges
            If a part was asked for, and Zenodo sends none.
        CorpusError
            If they cannot be fetched.
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
        """Fetch bytes of a file; whether they came in one piece."""
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

    def _url(self) -> str:
        return f"{endpoint()}/api/records/{self.number}"

    def _addresses(self, name: str) -> list[str]:
        """Where a file is: the first address is known to send parts, the other is the API's."""
        key = quote(name)
        return [
            f"{endpoint()}/records/{self.number}/files/{key}?download=1",
            f"{self._url()}/files/{key}/content",
        ]

    def _ask(self) -> dict[str, Published]:
        try:
            listed = {each["key"]: each for each in get_json(self._url())["files"]}
            files = {name: _published(listed[name]) for name in self.published}
        except Failed as error:
            raise self._failed("the list of files", error) from error
        except BAD_LISTING as error:
            raise CorpusError(
                f"cannot read the list of files of Zenodo record {self.number}",
                where=self.where,
                why=f"not what the record API answers for it: {error!r:.200}",
                fix=f"load again; or {self.by_hand}",
            ) from error
        for name, expected in self.published.items():
            if expected not in ("", files[name].md5):
                raise CorpusError(
                    f"Zenodo record {self.number} is not the release that {self.corpus} reads",
                    where=self.where,
                    why=f"{name}: expected md5 {expected}, found {files[name].md5}",
                    fix="look for a newer version of this package",
                )
        return files

    def _check_online(self, name: str) -> None:
        for variable in ("BUILDERS_OFFLINE", "HF_HUB_OFFLINE"):
            if os.environ.get(variable, "").lower() in ("1", "true", "yes", "on"):
                raise CorpusError(
                    f"cannot fetch {name} of Zenodo record {self.number}",
                    where=self.folder,
                    why=f"it is not on this machine, and {variable} is set",
                    fix=f"unset {variable}, or {self.by_hand}",
                )

    def _failed(self, name: str, error: Failed, part: Path | None = None) -> CorpusError:
        if isinstance(error, Refused) and error.is_blocked:
            if os.environ.get("ZENODO_TOKEN"):
                fix = "see whether the token in ZENODO_TOKEN is still valid, or unset it"
            else:
                fix = (
                    "wait for an hour, then load again; or put a personal access token of your "
                    "account on Zenodo into the environment variable ZENODO_TOKEN, so that Zenodo "
                    "knows you"
                )
        else:
            is_kept = part is not None and part.exists()
            fix = f"load again{': what has been fetched so far is kept' if is_kept else ''}"
        return CorpusError(
            f"cannot fetch {name} of Zenodo record {self.number}",
            where=error.url,
            why=error.why,
            fix=f"{fix}; or {self.by_hand}",
        )


@contextmanager
def making(path: Path) -> Iterator[None]:
    """Be the one process that makes a file; what cannot be written is an error that says so."""
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
    return {"size": file.size, "checksum": f"md5:{file.md5}"}


def _published(listed: Mapping[str, Any]) -> Published:
    size, checksum = listed["size"], listed["checksum"]
    if type(size) is not int or not 0 <= size <= LARGEST:
        raise ValueError(f"size {size!r}")
    if not (md5 := re.fullmatch(r"md5:([0-9a-f]{32})", checksum)):
        raise ValueError(f"checksum {checksum!r}")
    return Published(size, md5[1])
