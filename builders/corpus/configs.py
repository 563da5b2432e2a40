"""Defines the configs of a corpus: which shards each config has."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from datasets.packaged_modules.parquet.parquet import ParquetConfig

from builders.conventions import SUBSETS

Globs = dict[str, tuple[str, ...]]


def record_globs(area: str = "*", site: str = "*") -> Globs:
    """Globs of each subset's record shards, for one area or site, or for all."""
    return {subset: (f"data/{area}/{site}/{subset}.parquet",) for subset in SUBSETS}


def merge_globs(*globs: Globs) -> Globs:
    """Merge several `Globs`, subset by subset."""
    return {subset: tuple(path for each in globs for path in each[subset]) for subset in SUBSETS}


@dataclass
class CorpusConfig(ParquetConfig):
    """One config of a corpus; the dataset card and the builder class are derived from it.

    Attributes
    ----------
    globs : dict of str to tuple of str
        Split name -> globs of its shards, relative to the repository.

    The other attributes are those of the Parquet builder: ``columns``, ``filters``,
    ``batch_size``.
    """

    globs: Globs = field(default_factory=dict)


def matches(path: str, glob: str) -> bool:
    """Whether a path in the repository matches a glob; ``*`` does not match a slash."""
    names, patterns = path.split("/"), glob.split("/")
    return len(names) == len(patterns) and all(map(fnmatchcase, names, patterns))
