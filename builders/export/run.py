"""Write a corpus' repository to a folder or an object store, to be loaded without this package.

The export has the same paths and the same bytes as ``corpus://<corpus>/``, and a card whose globs
are relative. `MANIFEST.json` says what each shard was made from.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fsspec
from datasets.utils import tqdm

import builders
from builders.corpus.builder import CorpusBuilder
from builders.corpus.configs import matches
from builders.corpus.registry import code_key, find_corpus, sound_corpora
from builders.errors import CorpusError
from builders.export.card import exported_card
from builders.export.croissant import CROISSANT, croissant
from builders.export.folder import Folder
from builders.export.held import held_configs
from builders.export.manifest import MANIFEST, Manifest, check_own, file_of
from builders.export.task import Task, read_jobs, user_folder, write_job
from builders.export.workers import run_tasks
from builders.files import digest
from builders.repository.card import CARD, linked_files
from builders.shards.cache import ShardCache
from builders.shards.excluded import read_excluded
from builders.shards.job import Job
from builders.urls import repository_url

#: Configs that are exported only if named: they have gigabytes that few users need.
ON_REQUEST = ("waveforms",)
# Names of temporary files that `replace_file` leaves behind when it is killed.
_LITTER = re.compile(r"\.(.+)\.\d+\.\d+")


@dataclass(frozen=True)
class Export:
    """The result of an export.

    Attributes
    ----------
    manifest : Manifest
        What the folder holds now.
    written : list of str
        The shards that were written; all others were there already.
    failures : list of str
        One message for each failed job; its shards are missing or out of date.
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

    Shards from earlier exports of the corpus stay, and the card and the manifest describe them all.
    Shards that the release no longer produces are removed. Only one export at a time may write to
    the same folder.

    Parameters
    ----------
    corpus : type of CorpusBuilder
        The corpus.
    configs : sequence of str
        Names of configs; if empty, all except the waveforms.
    out : str
        A folder, or any address that fsspec knows. Workers on other machines must reach it, too.
    workers, scheduler : int, str or None
        Where the shards are built; see `builders.export.workers.run_tasks`.
    metadata : mapping, optional
        Entries of the card's YAML that replace the corpus' own, such as ``license``.

    Returns
    -------
    Export

    Raises
    ------
    CorpusError
        If a config is unknown or not in the release, or `out` cannot be written to. If `out` holds
        other files and no manifest, or lies in a package. Errors of single archives are not raised;
        they are listed in `Export.failures`.
    """
    run = _plan(corpus, configs, out)
    run.retract()
    run.write(workers, scheduler)
    run.settle()
    return run.publish(metadata or {})


@dataclass
class _Run:
    """A running export. The manifest on disk stays correct even if the export is killed.

    Attributes
    ----------
    jobs : dict of str to Job
        All jobs of the corpus, by the path of each of their shards.
    sizes : dict of str to int
        Size in bytes of each file in the folder.
    manifest : Manifest
        What the folder holds; later, also the other files that are to be written.
    tasks : dict of str to Task
        What to write, by the names of the jobs.
    failures : dict of str to str
        Messages, by the names of jobs or by paths.
    written : list of str
        The shards that have been written.
    """

    corpus: type[CorpusBuilder]
    folder: Folder
    jobs: dict[str, Job]
    sizes: dict[str, int]
    manifest: Manifest
    tasks: dict[str, Task]
    failures: dict[str, str]
    written: list[str] = field(default_factory=list)

    @property
    def _stale(self) -> set[str]:
        """The shards that will be written again."""
        return {path for task in self.tasks.values() for path in task.sizes}

    def retract(self) -> None:
        """Drop from the manifest what will change; delete shards that no job produces any more."""
        gone = {path for path in self.manifest.shards if path not in self.jobs}
        if stale := gone | self._stale:
            kept = {path: each for path, each in self.manifest.shards.items() if path not in stale}
            self._put(MANIFEST, replace(self.manifest, files={}, shards=kept).to_json())
        for path in gone:
            self.folder.remove(path)

    def write(self, workers: int, scheduler: str | None) -> None:
        """Build and write the shards."""
        outcomes = run_tasks(write_job, self.tasks, workers, scheduler)
        for name, outcome in tqdm(outcomes, desc="Exporting", total=len(self.tasks), unit=" jobs"):
            if isinstance(outcome, Exception):
                self.failures[name] = str(outcome) or type(outcome).__name__
            else:
                self.manifest.shards |= outcome[0]
                self.written += outcome[1]

    def settle(self) -> None:
        """Keep only the shards in the manifest that are really in the folder."""
        self.sizes = self.folder.sizes()
        kept = {}
        for path, shard in self.manifest.shards.items():
            if path in self.jobs and self.sizes.get(path) == shard.bytes:
                kept[path] = shard
            elif path in self._stale:
                why = "it was written, and is not there: do all workers see the same place?"
                self.failures[path] = why
        self.manifest.shards = kept

    def publish(self, metadata: Mapping[str, Any]) -> Export:
        """Write the card, its linked files and the manifest; delete left-over temporary files."""
        features = {path: job.features for path, job in self.jobs.items()}
        held = list(held_configs(self.corpus, self.manifest, features))
        card = exported_card(self.corpus, self.manifest, held, features, metadata)
        described = croissant(self.corpus, held, features, metadata)
        others = {CARD: card, CROISSANT: described, **linked_files(self.corpus)}
        self.manifest.files = {path: file_of(content) for path, content in others.items()}
        known = {*self.jobs, *others, MANIFEST}
        for path in [path for path in self.sizes if _is_litter(path, known)]:
            self.folder.remove(path)
        for path, content in [*others.items(), (MANIFEST, self.manifest.to_json())]:
            self._put(path, content)
        messages = [f"{name}: {message}" for name, message in sorted(self.failures.items())]
        return Export(self.manifest, sorted(self.written), messages)

    def _put(self, path: str, content: bytes) -> None:
        """Write a file, unless it has this content already."""
        with self.folder.reached():
            if self.sizes.get(path) != len(content) or self.folder.read(path) != content:
                self.folder.write(path, content)


def _plan(corpus: type[CorpusBuilder], configs: Sequence[str], out: str) -> _Run:
    """Plan an export; opens no archive and writes nothing."""
    folder, release = Folder(out), user_folder(corpus)
    _check_outside(folder)
    jobs = read_jobs(corpus.corpus, release)
    asked, wanted = _select(corpus, configs, list(jobs))
    sizes = folder.sizes()
    manifest = _manifest(corpus, folder, sizes, asked)
    tasks, failures = _tasks(corpus, release, jobs, wanted, folder, sizes, manifest)
    return _Run(corpus, folder, jobs, sizes, manifest, tasks, failures)


def _check_outside(folder: Folder) -> None:
    """Raise if a folder is inside this package or a corpus' package, which has its own card."""
    if folder.path is None:
        return
    place = folder.path.resolve()
    packages = [
        Path(builders.__file__),
        *(Path(inspect.getfile(find_corpus(name))) for name in sound_corpora()[0]),
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
    """The requested configs, and the paths of their shards."""
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
    """A manifest with the requested configs and the shards of the old manifest that still exist."""
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
    """The tasks, and a message for each job that cannot be done; opens no archive."""
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
