"""The base class of all corpora, which makes each corpus a `datasets` builder."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from datasets.packaged_modules.parquet.parquet import Parquet

from builders.corpus.configs import CorpusConfig
from builders.errors import CorpusError, unknown
from builders.files import home, user_path
from builders.release.local import Release
from builders.shards.job import Job
from builders.shards.notes import Note
from builders.urls import repository_url

if TYPE_CHECKING:
    from builders.validation.facts import Fact
    from builders.validation.reference import Source


Scale = Literal["mini", "full"]
FigureName = Literal["record", "coverage", "depth", "cells", "sessions", "quality"]


class CorpusBuilder(Parquet):
    """A corpus as a `datasets` builder: ``Wingert2026("A1")``.

    A corpus sets the class attributes, and implements `jobs`. The first of its `BUILDER_CONFIGS`
    must need the least: whatever config is loaded, `datasets` resolves the first one, too.
    An entry point in the group ``builders.corpora`` makes the corpus known. Its shards come from
    ``corpus://<corpus>/``, so that builder class, `load_dataset` and the Hub read the same bytes.

    Parameters
    ----------
    config_name : str, optional
        One of `BUILDER_CONFIGS`; the default config if None.
    **kwargs
        Arguments of `datasets.DatasetBuilder` (``cache_dir``) and of the Parquet builder
        (``columns``, ``filters``).

    Raises
    ------
    CorpusError
        If there is no such config (the error lists near matches), or no release.
    """

    BUILDER_CONFIG_CLASS = CorpusConfig

    #: Name of the corpus; also names its folder, its caches and its part of ``corpus://``.
    corpus: ClassVar[str]
    #: Where the release is published.
    source: ClassVar[str]
    #: Number of its record on Zenodo; None if it is not there, so that users need the files.
    record: ClassVar[int | None] = None
    #: The addresses of the files, if they are not on Zenodo; `published` then needs a checksum of
    #: each: the digits of an md5, or ``sha256:`` and digits.
    urls: ClassVar[Mapping[str, str]] = {}
    #: The record's files that are read -> their md5; empty if not known in advance.
    published: ClassVar[dict[str, str]]
    #: Centres of the lowest and the highest frequency band in Hz, if known.
    frequencies: ClassVar[tuple[float, float] | None] = None
    #: When the sound begins and ends in the stimulus window, in ms, if known; for pictures.
    sound_ms: ClassVar[tuple[float, float | None] | None] = None
    #: Bin width of responses and spectrograms in milliseconds.
    bin_ms: ClassVar[float] = 10.0
    #: A column of flags of the records: the cells over which the literature averages scores.
    scored: ClassVar[str] = ""
    #: The dataset card's YAML, without its configs.
    card: ClassVar[dict[str, Any]]

    def __init__(self, config_name: str | None = None, **kwargs: Any) -> None:
        configs = {config.name: config for config in self.BUILDER_CONFIGS}
        name = config_name or self.DEFAULT_CONFIG_NAME
        self.check_configs([name])
        repository = repository_url(self.corpus)
        globs = {
            split: [repository + glob for glob in globs]
            for split, globs in configs[name].globs.items()
        }
        super().__init__(
            config_name=name, dataset_name=self.corpus, data_files=globs, hash=None, **kwargs
        )

    @classmethod
    def check_configs(cls, names: Sequence[str]) -> None:
        """Raise a `CorpusError` for a name that no config has; the error lists near matches."""
        known = [config.name for config in cls.BUILDER_CONFIGS]
        for name in names:
            if name not in known:
                raise unknown(f"config of {cls.corpus}", name, known)

    @classmethod
    @abstractmethod
    def jobs(cls, release: Release) -> Sequence[Job]:
        """All jobs for the release. Opens no archive."""

    @classmethod
    def groups(cls, path: str = "") -> Sequence[str]:
        """Names of the groups of jobs whose shards may be below a path of the repository.

        By default, all jobs are in one group. More groups are worth it if finding the jobs of a
        group fetches much.
        """
        return [""]

    @classmethod
    def group(cls, release: Release, name: str) -> Sequence[Job]:
        """The jobs of one of the `groups`."""
        return cls.jobs(release)

    @classmethod
    @abstractmethod
    def synthesize(cls, folder: Path, scale: Scale, seed: int, driven: bool = False) -> None:
        """Write a synthetic release, ``mini`` or ``full``, in the published layout.

        If `driven`, spikes are made with known filters, which are written next to the release.
        """

    @classmethod
    @abstractmethod
    def describe(cls, release: Release) -> dict[str, object]:
        """Counts of what the release holds, fact name -> value; for ``builders info``."""

    @classmethod
    def list_notes(cls, release: Release) -> list[Note]:
        """The notes on the cell lists. Opens no archive."""
        return []

    @classmethod
    @abstractmethod
    def facts(cls) -> Sequence[Fact]:
        """Published facts about the release, and how to measure them in it; for `validate`."""

    @classmethod
    @abstractmethod
    def reference(cls, release: Release) -> Iterator[Source]:
        """The release, read by a second reader that is independent of the reader in `jobs`."""

    @classmethod
    def release(cls) -> Release:
        """The user's copy of the release, or one that is fetched on demand.

        Raises
        ------
        CorpusError
            If the environment variable ``<CORPUS>_DATA`` does not name a folder, or is needed and
            not set.
        """
        variable = f"{cls.corpus.upper()}_DATA"
        named = os.environ.get(variable)
        if not named and (cls.record or cls.urls):
            return cls._fetched()
        if not named:
            raise CorpusError(
                f"no release of {cls.corpus}",
                why=f"it is not fetched, and {variable} is not set",
                fix=f"get the files from {cls.source}, and set {variable} to their folder",
            )
        is_fetched = cls.record or cls.urls
        without = f"; without it, the release is fetched from {cls.source}" if is_fetched else ""
        folder = user_path(variable, named)
        if why := _no_folder(folder):
            raise CorpusError(
                f"no release of {cls.corpus}",
                where=folder,
                why=why,
                fix=f"correct {variable}{without}",
            )
        return Release(cls.corpus, folder, cls.source)

    @classmethod
    def _fetched(cls) -> Release:
        # Imported here: they import requests, which takes 25 of the 400 ms in which a site loads.
        from builders.release.addresses import UrlFiles
        from builders.release.fetched import FetchedRelease
        from builders.release.record import ZenodoRecord

        place = cls.corpus, cls.source, home() / "releases" / cls.corpus, cls.published
        if cls.record:
            return FetchedRelease(ZenodoRecord(*place, cls.record))
        return FetchedRelease(UrlFiles(*place, cls.urls))


def _no_folder(path: Path) -> str:
    """Why a path is not a folder; empty if it is one."""
    try:
        return "" if path.is_dir() else "it is a file" if path.exists() else "no such folder"
    except OSError as error:  # e.g. the name is too long
        return str(error.strerror)
