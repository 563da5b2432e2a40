"""Files of a release at addresses of their own, with checksums that the corpus states."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from builders.errors import CorpusError
from builders.release.http import Failed, get
from builders.release.record import CHECKSUM, LARGEST_LISTING, Published, RemoteFiles

#: The size of the whole in the header of an answer that holds a part.
WHOLE = re.compile(r"bytes 0-0/(\d{1,15})")


class UrlFiles(RemoteFiles):
    """The files of a release, each at its address; fetched and checked as those of a record.

    Parameters
    ----------
    corpus, source, folder
        As for `RemoteFiles`.
    published : mapping of str to str
        File -> its checksum: the digits of an md5, or ``sha256:`` and digits.
    urls : mapping of str to str
        File -> address.

    Raises
    ------
    CorpusError
        If a file has no address, or no valid checksum.
    """

    def __init__(
        self,
        corpus: str,
        source: str,
        folder: Path,
        published: Mapping[str, str],
        urls: Mapping[str, str],
    ) -> None:
        # Other files, or other checksums, need another list.
        stated = repr((sorted(urls.items()), sorted(published.items()))).encode()
        number = int(sha256(stated).hexdigest()[:12], 16)
        super().__init__(corpus, source, folder, published, number)
        self._urls = urls
        for name, text in published.items():
            if name not in urls or not CHECKSUM.fullmatch(_with_kind(text)):
                what = "address" if name not in urls else "checksum"
                raise CorpusError(
                    f"cannot fetch {name} of {self.title}",
                    why=f"the corpus states no {what} of it",
                    fix=self.by_hand,
                )

    def _addresses(self, name: str) -> list[str]:
        return [self._urls[name]]

    def _ask(self) -> dict[str, Published]:
        """The size that the server states of each file, and the checksum that the corpus does."""
        found = {}
        for name, text in self.published.items():
            try:
                with get(self._urls[name], {"Range": "bytes=0-0"}) as response:
                    size = response.headers.get("Content-Length", "")
                    if response.status_code == 206:
                        whole = WHOLE.fullmatch(response.headers.get("Content-Range", ""))
                        size = whole[1] if whole else ""
            except Failed as error:
                raise self._failed(f"the size of {name}", error) from error
            if not re.fullmatch(r"\d{1,15}", size) or int(size) > LARGEST_LISTING:
                raise CorpusError(
                    f"cannot fetch {name} of {self.title}",
                    where=self._urls[name],
                    why="the server does not say how many bytes it has",
                    fix=self.by_hand,
                )
            kind, _, digits = _with_kind(text).partition(":")
            found[name] = Published(int(size), digits, kind)
        return found


def _with_kind(checksum: str) -> str:
    return checksum if ":" in checksum else f"md5:{checksum}"
