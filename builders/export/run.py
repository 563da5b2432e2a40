"""A corpus' repository written to a folder or an object store, where it needs none of our code.

What lies there then is what ``corpus://<corpus>/`` holds: the same paths and the same bytes, under
a card whose globs are relative. `MANIFEST.json` says what each shard was made from.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
from datasets.utils import tqdm

import builders
from builders.corpus.builder import CorpusBuilder
from builders.corpus.configs import matches
from builders.corpus.registry import code_key, corpora, find_corpus
from builders.errors import CorpusError
from builders.export.card import exported_card
from builders.export.folder import Folder
from builders.export.manifest import MANIFEST, Manifest, check_own, file_of
from builders.export.task import Task, read_jobs, user_folder, write_job
from builders.export.workers import run_tasks
from builders.files import digest
from builders.repository.card import CARD, linked_files
from builders.shards.cache import ShardCache
from builders.shards.excluded import read_excluded
from builders.shards.job import Job
from builders.urls import repository_url

#: What is left out unless it is named: gigabytes that few want.
ON_REQUEST = ("waveforms",)
# What `replace_file` leaves behind when it is killed.
_LITTER = re.compile(r"\.(.+)\.\d+\.\d+")


@dataclass(frozen=True)
class Export:
    """What came of an export.

    Attributes
    ----------
    manifest : Manifest
        What lies there now.
    written : list of str
        The shards that were written; all others lay there already.
    failures : list of str
        A message for each job that failed: its shards, as they should be, are not there.
    """

    manifest: Manifest
    written: list[str]
    failures: list[str]


def export(
    corpus: type[CorpusBuilder],
    configs: Sequence[str],
    out: str,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Export:
    """Write the shards of some configs, the card and the manifest; only what is missing or changed.

    What other exports of the corpus have written there stays, and card and manifest describe all of
    it. Shards that the release no longer gives rise to are removed. Not more than one export at a
    time may write to a place.

    Parameters
    ----------
    corpus : type of CorpusBuilder
        The corpus.
    configs : sequence of str
        Names of configs; if there are none, all but the waveforms.
    out : str
        A folder, or any address that fsspec knows. Workers on other machines must know it, too.
    workers, scheduler : int, str or None
        Who builds the shards; see `builders.export.workers.run_tasks`.
    metadata : mapping, optional
        Entries of the card's YAML that replace the corpus' own, such as ``license``.

    Returns
    -------
    Export

    Raises
    ------
    CorpusError
        If a config is unknown or not in the release, or nothing can be written to `out`. If `out`
        holds other files and no manifest, or lies in a package. What goes wrong with single
        archives is in the result.
    """
    folder, release = Folder(out), user_folder(corpus)
    _check_outside(folder)
    jobs = read_jobs(corpus.corpus, release)
    asked, wanted = _select(corpus, configs, list(jobs))
    sizes = folder.sizes()
    manifest = _manifest(corpus, folder, sizes, asked)
    tasks, failures = _tasks(corpus, release, jobs, wanted, folder, sizes, manifest)

    gone = {path for path in manifest.shards if path not in jobs}
    stale = gone.union(*(task.sizes for task in tasks.values()))
    if stale:
        # Whenever this is killed, the manifest says nothing that is not so.
        rest = {path: shard for path, shard in manifest.shards.items() if path not in stale}
        _put(folder, sizes, MANIFEST, replace(manifest, files={}, shards=rest).to_json())
    for path in gone:
        folder.remove(path)
    written: list[str] = []
    outcomes = run_tasks(write_job, tasks, workers, scheduler)
    for name, outcome in tqdm(outcomes, desc="Exporting", total=len(tasks), unit=" jobs"):
        if isinstance(outcome, Exception):
            failures[name] = str(outcome) or type(outcome).__name__
        else:
            manifest.shards |= outcome[0]
            written += outcome[1]

    sizes = folder.sizes()
    for path, shard in manifest.shards.items():
        if path in stale - gone and sizes.get(path) != shard.bytes:
            failures[path] = "it was written, and is not there: do all workers see the same place?"
    manifest.shards = {
        path: shard
        for path, shard in manifest.shards.items()
        if path in jobs and sizes.get(path) == shard.bytes
    }
    features = {path: job.features for path, job in jobs.items()}
    card = exported_card(corpus, manifest, features, metadata or {})
    others = {CARD: card, **linked_files(corpus)}
    manifest.files = {path: file_of(content) for path, content in others.items()}
    for path in [path for path in sizes if _is_litter(path, {*jobs, *others, MANIFEST})]:
        folder.remove(path)
    for path, content in [*others.items(), (MANIFEST, manifest.to_json())]:
        _put(folder, sizes, path, content)
    messages = [f"{name}: {message}" for name, message in sorted(failures.items())]
    return Export(manifest, sorted(written), messages)


def _check_outside(folder: Folder) -> None:
    """Raise for a folder inside this package or that of a corpus, whose own card lies there."""
    if folder.path is None:
        return
    place = folder.path.resolve()
    packages = [
        Path(builders.__file__),
        *(Path(inspect.getfile(find_corpus(name))) for name in corpora()),
    ]
    for package in packages:
        if package.resolve().parent in (place, *place.parents):
            raise CorpusError(
                "cannot export into a package",
                where=place,
                why="the code lies there",
                fix="give another folder",
            )


def _select(
    corpus: type[CorpusBuilder], names: Sequence[str], paths: list[str]
) -> tuple[list[str], set[str]]:
    """The configs that are asked for, and the paths of their shards."""
    corpus.check_configs(names)
    configs = {config.name: config for config in corpus.BUILDER_CONFIGS}
    globs = {
        name: [glob for of_split in config.globs.values() for glob in of_split]
        for name, config in configs.items()
    }
    found = {
        glob: {path for path in paths if matches(path, glob)}
        for glob in {glob for of_config in globs.values() for glob in of_config}
    }
    filesystem = fsspec.filesystem("corpus")
    for glob in [glob for name in names for glob in globs[name] if not found[glob]]:
        filesystem.glob(repository_url(corpus.corpus) + glob)  # raises, and says what there is
    asked = list(names) or [
        name for name in configs if name not in ON_REQUEST and all(map(found.get, globs[name]))
    ]
    return asked, set().union(*(found[glob] for name in asked for glob in globs[name]))


def _manifest(
    corpus: type[CorpusBuilder], folder: Folder, sizes: Mapping[str, int], asked: Iterable[str]
) -> Manifest:
    """The manifest that lies there, or a new one, of what it knows and is there still."""
    manifest = Manifest(corpus.corpus)
    check_own(sizes, folder.url)
    if MANIFEST in sizes:
        manifest = Manifest.from_json(folder.read(MANIFEST), f"{folder.url}/{MANIFEST}")
    if manifest.corpus != corpus.corpus:
        raise CorpusError(
            f"cannot export {corpus.corpus} to where another corpus is",
            where=folder.url,
            why=f"its {MANIFEST} is that of {manifest.corpus}",
            fix="give another folder",
        )
    release = corpus.release()
    lists = [name for name in corpus.published if name.endswith(".csv")]
    absent = release.lacking(lists)
    paths = [release.file(name) for name in lists if name not in absent]
    names = {*asked, *manifest.configs}
    return Manifest(
        corpus.corpus,
        corpus.source,
        configs=[each.name for each in corpus.BUILDER_CONFIGS if each.name in names],
        lists={path.name: f"sha256:{digest(path, 'sha256')}" for path in paths},
        excluded=read_excluded(corpus.corpus),
        files=manifest.files,
        shards={
            path: shard for path, shard in manifest.shards.items() if sizes.get(path) == shard.bytes
        },
    )


def _tasks(
    corpus: type[CorpusBuilder],
    release: str,
    jobs: Mapping[str, Job],
    wanted: set[str],
    folder: Folder,
    sizes: Mapping[str, int],
    manifest: Manifest,
) -> tuple[dict[str, Task], dict[str, str]]:
    """What is to be done, and what cannot be; opens no archive."""
    code = code_key(corpus)
    cache = ShardCache(corpus.corpus, code)
    tasks, failures = {}, {}
    for job in {jobs[path].name: jobs[path] for path in sorted(wanted)}.values():
        try:
            etag = cache.etag(job)
        except CorpusError as error:
            failures[job.name] = str(error)
            continue
        known = {path for path in job.paths if path in manifest.shards}
        stale = [
            path
            for path in job.paths
            if path in wanted and not (path in known and manifest.shards[path].etag == etag)
        ]
        if stale:
            of_job = {path: sizes.get(path) for path in stale}
            tasks[job.name] = Task(corpus.corpus, job.name, release, code, folder.url, of_job)
    return tasks, failures


def _is_litter(path: str, files: set[str]) -> bool:
    parent, slash, name = path.rpartition("/")
    match = _LITTER.fullmatch(name)
    return match is not None and f"{parent}{slash}{match[1]}" in files


def _put(folder: Folder, sizes: Mapping[str, int], path: str, content: bytes) -> None:
    """Write a file unless it has this content."""
    with folder.reached():
        if sizes.get(path) != len(content) or folder.read(path) != content:
            folder.write(path, content)
