"""What a corpus implements, and the `datasets` builder it thereby becomes."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from datasets.packaged_modules.parquet.parquet import Parquet

from builders.corpus.configs import CorpusConfig
from builders.errors import CorpusError, unknown
from builders.files import user_path
from builders.release.local import Release
from builders.release.zenodo import ZenodoRelease
from builders.shards.job import Job
from builders.shards.notes import Note
from builders.urls import repository_url

if TYPE_CHECKING:
    from builders.validation.facts import Fact
    from builders.validation.reference import Source


Scale = Literal["mini", "full"]
FigureName = Literal["record", "coverage", "depth", "cells", "sessions"]


class CorpusBuilder(Parquet):
    """A corpus as a `datasets` builder: ``Wingert2026("A1")``.

    A corpus sets the class attributes, and implements `jobs`. The first of its `BUILDER_CONFIGS`
    is the one that needs least: whatever config is loaded, `datasets` resolves the first one too.
    An entry point in the group ``builders.corpora`` makes the corpus known. Its shards come from
    ``corpus://<corpus>/``, so that builder class, `load_dataset` and the Hub read the same bytes.

    Parameters
    ----------
    config_name : str, optional
        One of `BUILDER_CONFIGS`; the default config if None.
    **kwargs
        As of `datasets.DatasetBuilder` (``cache_dir``) and of the Parquet builder (``columns``,
        ``filters``).

    Raises
    ------
    CorpusError
        If there is no such config (near matches are listed), or no release.
    """

    BUILDER_CONFIG_CLASS = CorpusConfig

    #: Name of the corpus: of its folder, of its part of ``corpus://`` and of its caches.
    corpus: ClassVar[str]
    #: Where the release is published.
    source: ClassVar[str]
    #: Its record on Zenodo.
    record: ClassVar[int]
    #: The record's files that are read, and their md5 where it is known beforehand.
    published: ClassVar[dict[str, str]]
    #: Centre of the lowest and of the highest frequency band in Hz, if they are known.
    frequencies: ClassVar[tuple[float, float] | None] = None
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
        """Raise a `CorpusError` for a name that no config has; it lists near matches."""
        known = [config.name for config in cls.BUILDER_CONFIGS]
        for name in names:
            if name not in known:
                raise unknown(f"config of {cls.corpus}", name, known)

    @classmethod
    @abstractmethod
    def jobs(cls, release: Release) -> Sequence[Job]:
        """All jobs that the release gives rise to. Opens no archive."""

    @classmethod
    @abstractmethod
    def synthesize(cls, folder: Path, scale: Scale, seed: int, driven: bool = False) -> None:
        """Write a synthetic release in the published layout: ``mini`` or ``full``.

        If `driven`, spikes follow from known filters, which are written beside it.
        """

    @classmethod
    @abstractmethod
    def describe(cls, release: Release) -> dict[str, object]:
        """What the release holds, counted: a fact's name to its value, for ``builders info``."""

    @classmethod
    def list_notes(cls, release: Release) -> list[Note]:
        """What is to be noted of the lists of cells. Opens no archive."""
        return []

    @classmethod
    @abstractmethod
    def facts(cls) -> Sequence[Fact]:
        """What was published about the release, and how to find it there; for `validate`."""

    @classmethod
    @abstractmethod
    def reference(cls, release: Release) -> Iterator[Source]:
        """The release as a second reader sees it, which shares nothing with that of `jobs`."""

    @classmethod
    def release(cls) -> Release:
        """The user's copy of the release, or the one that is fetched as it is read.

        Raises
        ------
        CorpusError
            If ``<CORPUS>_DATA`` in the environment names no folder.
        """
        variable = f"{cls.corpus.upper()}_DATA"
        named = os.environ.get(variable)
        if not named:
            return ZenodoRelease(cls.corpus, cls.source, cls.record, cls.published)
        folder = user_path(variable, named)
        if why := _no_folder(folder):
            raise CorpusError(
                f"no release of {cls.corpus}",
                where=folder,
                why=why,
                fix=f"correct {variable}; without it, the release is fetched from {cls.source}",
            )
        return Release(cls.corpus, folder, cls.source)


def _no_folder(path: Path) -> str:
    """Why this is no folder; empty where it is one."""
    try:
        return "" if path.is_dir() else "it is a file" if path.exists() else "no such folder"
    except OSError as error:  # a name that is too long
        return str(error.strerror)
