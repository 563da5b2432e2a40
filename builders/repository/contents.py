"""What each config of a corpus holds, as far as it is known without opening an archive."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builders.corpus.builder import CorpusBuilder
from builders.corpus.configs import CorpusConfig, matches
from builders.corpus.registry import code_key
from builders.errors import CorpusError
from builders.shards.cache import ShardCache
from builders.shards.job import Job
from builders.shards.writer import WHOLE, Form, n_rows


@dataclass(frozen=True)
class Contents:
    """What a config holds.

    Attributes
    ----------
    name : str
        The config.
    is_default : bool
        Whether it is loaded if none is named.
    rows : dict of str to (int or None)
        Split -> number of its rows; None while some of its shards are not built.
    """

    name: str
    is_default: bool
    rows: Mapping[str, int | None]

    def as_json(self) -> dict[str, Any]:
        return {"config": self.name, "default": self.is_default, "rows": dict(self.rows)}

    def __str__(self) -> str:
        splits = [
            split if n is None else f"{split} {n} row{'' if n == 1 else 's'}"
            for split, n in self.rows.items()
        ]
        return f"{self.name}: {', '.join(splits)}{' (default)' if self.is_default else ''}"


def configs(corpus: type[CorpusBuilder]) -> list[Contents]:
    """The configs of a corpus; fetches no archive."""
    built = _built(corpus)
    sizes: dict[Path, int] = {}
    return [
        Contents(
            config.name,
            config.name == corpus.DEFAULT_CONFIG_NAME,
            {split: _rows(config, split, built, sizes) for split in config.globs},
        )
        for config in corpus.BUILDER_CONFIGS
    ]


def _built(corpus: type[CorpusBuilder]) -> dict[str, Path | None]:
    """Shard -> its file, None if it is not built; nothing if no shard is."""
    cache = ShardCache(corpus.corpus, code_key(corpus))
    if not cache.root.is_dir():  # listing the shards may fetch something
        return {}
    found: dict[str, Path | None] = {}
    for group in corpus.groups():
        with suppress(CorpusError):  # there is no release now, or not this part of it
            release = corpus.release()
            release.before_whole = _refuse
            for job in corpus.group(release, group):
                etag = cache.etag(job) if any(map(cache.has_any, job.paths)) else ""
                found |= {path: _file(cache, job, path, etag) for path in job.paths}
    return found


def _file(cache: ShardCache, job: Job, path: str, etag: str) -> Path | None:
    """The file of a shard, of either kind, which has all of its rows."""
    whole = Form(WHOLE, job.features)
    return (cache.find(path, etag) or cache.find(path, etag, whole)) if etag else None


def _refuse(text: str) -> None:
    raise CorpusError(text)


def _rows(
    config: CorpusConfig,
    split: str,
    built: Mapping[str, Path | None],
    sizes: dict[Path, int],
) -> int | None:
    """The number of rows of a split; `sizes` has those of the files that were asked already."""
    globs = config.globs[split]
    files = [file for path, file in built.items() if any(matches(path, glob) for glob in globs)]
    if config.filters or not files or None in files:
        return None  # how many rows a filter keeps is not known before they are read
    for file in files:
        if file and file not in sizes:
            sizes[file] = n_rows(file)
    return sum(sizes[file] for file in files if file)
