"""A folder with a corpus' raw files, as its authors published them.

The folder holds the release unpacked or with its zips as downloaded: ``recordings/X.tgz``,
``recordings/X/...`` (an archive unpacked), or ``recordings.zip``. Usual variants of these names and
places are found as well; see `Release`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from builders.errors import CorpusError
from builders.files import folder_size
from builders.release.archive import Archive, ambiguous, differ, stat_key
from builders.release.folders import (
    ARCHIVE,
    SOUND,
    Listing,
    archive_name,
    archive_places,
    find_archives,
    find_file,
    stamp,
    tops,
)
from builders.release.tars import archives_in_tar
from builders.release.zips import member_key, read_index


class Release:
    """A folder that holds a corpus' release. It belongs to the user and is never written to.

    Files and archives are found in the places where people and programs usually put them.

    * Files, zips and archives may be at the top of the folder. Anything else is searched for in the
      inner folder that has the corpus' name, or in the only inner folder.
    * The archives of ``recordings`` may also be in ``recordings/``, one folder deeper, in
      ``recordings.zip``, or in a tar of archives: ``recordings.tgz``, ``.tar.gz`` or ``.tar``. At
      the top, an archive is recognized by a name that ends in a hash; the archives of
      ``A1_single_sites`` must also begin with ``A1_``.
    * An archive may be a ``.tgz``, a ``.tar.gz``, or the folder that it was unpacked into.
    * Names may differ in letter case, or have the ``(1)`` that browsers add.

    Of several copies of an archive, one is used: first choice packed, then unpacked, then in a zip.
    Copies of one kind must have the same content, and a packed archive must have the size of its
    copy in a zip; otherwise reading the archive is an error.

    Parameters
    ----------
    corpus : str
        Name of the corpus.
    folder : Path
        Where the files are.
    source : str
        Where the release is published, for the error messages.
    """

    #: Whether the release is fetched on demand; otherwise the folder is the user's own.
    is_fetched: ClassVar[bool] = False
    #: Called with a message before a zip or tar is fetched whole for a part of it; may raise.
    before_whole: Callable[[str], object]

    def __init__(self, corpus: str, folder: Path, source: str) -> None:
        self.corpus = corpus
        self.folder = folder.absolute()
        self.source = source

    def damaged(self) -> Iterator[Path]:
        """Fetched files that differ from the published ones; reads every fetched file."""
        yield from ()

    def fetch_all(self, wanted: Sequence[Archive]) -> list[CorpusError]:
        """Fetch archives in advance, some at a time.

        Returns
        -------
        list of CorpusError
            The failures. A failure does not stop the other archives from being fetched.
        """
        return []

    def status(self) -> dict[str, Any]:
        """What of the release is on disk, as JSON values; makes no request.

        A fetched release also has its ``source`` and its ``files``: of each the ``bytes`` that are
        here and those that are ``missing`` (None: not known), and, of a zip of which single
        archives are fetched, how many are here and how many there are.
        """
        return {"folder": str(self.folder), "bytes": folder_size(self.folder)}

    def stamp(self) -> object:
        """A value that changes with the files at the top, or with the names in the places below."""
        return stamp(self.folder, self.corpus)

    def file(self, name: str) -> Path:
        """Path of one file of the release; a `CorpusError` names the file if it is missing."""
        found = self._find(name)
        if not found:
            looked = ", ".join(str(top.path) for top in self._tops())
            raise CorpusError(
                f"the release of {self.corpus} lacks {name}",
                where=self.folder,
                why=f"no such file in {looked}",
                fix=self._fix(),
            )
        stat_key(found[0])  # raises if it is a broken link
        for copy in found[1:]:
            if differ(found[0], copy):
                raise ambiguous(name, found[0], copy)
        return found[0]

    def archive(self, name: str) -> Archive:
        """One recording archive at the top of the release, packed or unpacked."""
        found = _grouped(Archive(name, path) for path in self._find(name, unpacked=True))
        return found.get(name) or Archive(name, self.file(name))

    def archives(self, directory: str, suffix: str = ARCHIVE) -> list[Archive]:
        """The archives (or other files) of one directory of the release, sorted by name.

        Opens none of them. Their `name` ends in `suffix`, even if the name on disk does not.
        """
        found = self._by_name(directory, suffix)
        if not found:
            raise self._no_archives(directory, suffix)
        return [found[name] for name in sorted(found)]

    def whole(self, directory: str) -> list[Archive]:
        """What determines the archives of a directory: a tar that is fetched, else themselves.

        Lists no archive that would have to be fetched for it.
        """
        return self.archives(directory)

    def lacking(self, names: Iterable[str]) -> list[str]:
        """The files in `names` that are missing, both as published and unpacked."""
        return [name for name in names if not self._holds(name)]

    def _holds(self, name: str) -> bool:
        if self._find(name, unpacked=True):
            return True
        directory = name.removesuffix(".zip")  # `wav` holds sounds, all others archives
        suffix = SOUND if directory == "wav" else ARCHIVE
        return directory != name and bool(self._by_name(directory, suffix))

    def _tops(self) -> Iterator[Listing]:
        return tops(self.folder, self.corpus)

    def _find(self, name: str, unpacked: bool = False) -> list[Path]:
        return next(
            (found for top in self._tops() if (found := find_file(top, name, unpacked))), []
        )

    def _by_name(self, directory: str, suffix: str) -> dict[str, Archive]:
        for top in self._tops():
            found = find_archives(top, directory, suffix)
            archives = [Archive(*each) for each in (*found.packed, *found.unpacked)]
            damaged = None
            for outer in found.zips:
                try:
                    archives += archives_in_zip(outer, suffix).values()
                except CorpusError as error:  # ignored if other archives are found
                    damaged = error
            if damaged and not archives:
                raise damaged
            if not archives:
                archives = [
                    each
                    for outer in found.tars
                    for each in archives_in_tar(self.corpus, outer, suffix).values()
                ]
            if archives:
                return _grouped(archives)
        return {}

    def _no_archives(self, directory: str, suffix: str) -> CorpusError:
        looked = [place for top in self._tops() for place in (top, *archive_places(top, directory))]
        kinds = f"{suffix} or .tar.gz files" if suffix == ARCHIVE else f"{suffix} files"
        or_tar = f" or {directory}{ARCHIVE}" if suffix == ARCHIVE else ""
        why = f"neither {directory}/ with {kinds} in it nor {directory}.zip{or_tar} is there; "
        why += "looked into "
        why += ", ".join(str(place.path) for place in looked)
        if any(file.endswith(".tar") for place in looked for file in place.files):
            why += f"; of all .tar files, only {directory}.tar is read: pack others with gzip"
        return CorpusError(
            f"the release of {self.corpus} has no {directory}",
            where=self.folder,
            why=why,
            fix=self._fix(),
        )

    def _fix(self) -> str:
        variable = f"{self.corpus.upper()}_DATA"
        return f"put it there as published ({self.source}), or correct {variable}"


def archives_in_zip(outer: Path, suffix: str = ARCHIVE) -> dict[str, Archive]:
    """Name -> archive (or other file) in a zip of the release."""
    return _in_zip(outer, suffix, stat_key(outer))


@lru_cache(maxsize=16)
def _in_zip(outer: Path, suffix: str, _stat: str) -> dict[str, Archive]:
    return _grouped(
        Archive(name, outer, info.filename, member_key(info))
        for each, info in read_index(outer).members.items()
        if (name := archive_name(each, suffix))
    )


def _grouped(archives: Iterable[Archive]) -> dict[str, Archive]:
    """Name -> first archive with that name; the others become its `copies`."""
    found: dict[str, list[Archive]] = {}
    for archive in archives:
        found.setdefault(archive.name, []).append(archive)
    return {
        name: Archive(name, first.path, first.member, first.key, copies=(*first.copies, *others))
        if others
        else first
        for name, (first, *others) in found.items()
    }
