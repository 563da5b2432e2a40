"""Which configs an export holds: what its card and its Croissant metadata describe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from datasets import Features

from builders.corpus.builder import CorpusBuilder
from builders.corpus.configs import matches
from builders.export.manifest import Manifest


@dataclass(frozen=True)
class Held:
    """The part of a config that an export holds.

    Attributes
    ----------
    config : CorpusConfig
    splits : dict of str to list of str
        The shards of each split that has rows. Plain `datasets` cannot load a split without rows.
    empty : list of str
        The splits whose shards are in the export but have no rows.
    missing : int
        How many shards of the config are not in the export.
    """

    config: Any
    splits: dict[str, list[str]]
    empty: list[str]
    missing: int


def held_configs(
    corpus: type[CorpusBuilder], manifest: Manifest, features: Mapping[str, Features]
) -> Iterator[Held]:
    """The configs that were requested, or whose shards are all in the export anyway."""
    for config in corpus.BUILDER_CONFIGS:
        splits, empty, missing = {}, [], 0
        for split, globs in config.globs.items():
            paths = [
                path for path in sorted(features) if any(matches(path, glob) for glob in globs)
            ]
            held = [path for path in paths if path in manifest.shards]
            missing += len(paths) - len(held)
            if size_of(manifest, held, config)[0]:
                splits[split] = held
            elif held:
                empty.append(split)
        if (splits or empty) and (not missing or config.name in manifest.configs):
            yield Held(config, splits, empty, missing)


def size_of(manifest: Manifest, paths: list[str], config: Any) -> tuple[int, int]:
    """Number of rows that a config reads from some shards, and their bytes in memory."""
    sizes = [manifest.shards[path].size(config.name) for path in paths]
    return sum(rows for rows, _ in sizes), sum(memory for _, memory in sizes)


def without_sites(held: list[Held]) -> list[Held]:
    """The configs without those sites whose records another one of the configs holds, too."""
    larger = {path for each in held if not _is_site(each) for path in _paths(each)}
    return [each for each in held if not (_is_site(each) and larger.issuperset(_paths(each)))]


def _paths(held: Held) -> list[str]:
    return [path for of_split in held.splits.values() for path in of_split]


def _is_site(held: Held) -> bool:
    """Whether a config is a single site: its globs are ``data/*/<site>/<subset>.parquet``."""
    globs = [glob.split("/") for of_split in held.config.globs.values() for glob in of_split]
    sites = {glob[2] for glob in globs if glob[:2] == ["data", "*"]}
    return len(sites) == 1 and "*" not in sites
