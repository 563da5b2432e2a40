"""The configs of a corpus: which shards each of them has."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from datasets.packaged_modules.parquet.parquet import ParquetConfig

from builders.conventions import SUBSETS

Globs = dict[str, tuple[str, ...]]


def record_globs(area: str = "*", site: str = "*") -> Globs:
    """Each subset's shards of records, of one area or site, or of all."""
    return {subset: (f"data/{area}/{site}/{subset}.parquet",) for subset in SUBSETS}


def merge_globs(*globs: Globs) -> Globs:
    """The shards of several, subset by subset."""
    return {subset: tuple(path for each in globs for path in each[subset]) for subset in SUBSETS}


@dataclass
class CorpusConfig(ParquetConfig):
    """One config of a corpus; the dataset card and the builder class both follow from it.

    Attributes
    ----------
    globs : dict of str to tuple of str
        Split name to the globs of its shards, relative to the repository.

    The other attributes are those of the Parquet builder: ``columns``, ``filters``,
    ``batch_size``.
    """

    globs: Globs = field(default_factory=dict)


def matches(path: str, glob: str) -> bool:
    """Whether a path in the repository is one of a glob's; ``*`` stands for a part of a name."""
    names, patterns = path.split("/"), glob.split("/")
    return len(names) == len(patterns) and all(map(fnmatchcase, names, patterns))
