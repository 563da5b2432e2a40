"""What lies on disk: fetching a release ahead of its use, and saying what is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import fsspec
from datasets.utils import tqdm

from builders.builder import CorpusBuilder, repository_url
from builders.errors import CorpusError
from builders.excluded import read_excluded
from builders.release import Archive, Release, home
from builders.zenodo import ZenodoRelease

CONNECTIONS = 4


def archives(builder: type[CorpusBuilder], release: Release, names: Sequence[str]) -> list[Archive]:
    """The archives of a release that some configs need, or all but the waveforms; opens none.

    The lists of cells, and the directories of the zips, are read and thereby fetched.
    """
    configs = {config.name: config for config in builder.BUILDER_CONFIGS}
    builder.check_configs(names)
    jobs = {path: job for job in builder.jobs(release) for path in job.paths}
    wanted = [job for path, job in jobs.items() if not path.startswith("waveforms/")]
    if names:
        filesystem, root = fsspec.filesystem("corpus"), repository_url(builder.corpus)
        globs = [glob for name in names for each in configs[name].globs.values() for glob in each]
        paths = [path for glob in globs for path in filesystem.glob(root + glob)]
        wanted = [jobs[path.partition("/")[2]] for path in paths]
    by_name = {job.name: job for job in wanted}
    found = {each.path / each.member: each for job in by_name.values() for each in job.archives()}
    return [found[path] for path in sorted(found)]


def fetch_all(release: ZenodoRelease, wanted: list[Archive]) -> list[CorpusError]:
    """Fetch archives, some at a time; one that fails does not keep the others from being fetched.

    Returns
    -------
    list of CorpusError
        What failed.
    """
    failures = []
    with (
        tqdm(total=sum(each.size for each in wanted), unit="B", unit_scale=True) as bar,
        ThreadPoolExecutor(CONNECTIONS) as pool,
    ):
        release.remote.bar = bar
        running = [pool.submit(each.fetch) for each in wanted if each.fetch]
        for each in as_completed(running):
            try:
                each.result()
            except CorpusError as error:
                failures.append(error)
    release.remote.bar = None
    return failures


def status(builder: type[CorpusBuilder]) -> Iterator[str]:
    """What is on disk of a corpus, in lines; asks nobody."""
    release = builder.release()
    if isinstance(release, ZenodoRelease):
        yield f"release: {release.folder}, fetched on demand from {release.source}"
        members = {name: release.members_of(name) for name in release.remote.published}
        known = release.known()
        for name in release.remote.published:
            path = release.folder / name
            if path.is_file():
                yield f"  {name}: here, {megabytes(path.stat().st_size)}"
            elif members[name]:
                here = [each for each in members[name] if each.path.is_file()]
                missing = sum(each.size for each in members[name]) - sum(e.size for e in here)
                size = sum(each.path.stat().st_size for each in here)
                yield (
                    f"  {name}: {len(here)} of {len(members[name])} archives here, "
                    f"{megabytes(size)}; {megabytes(missing)} missing"
                )
            else:
                size_of = f", {megabytes(known[name].size)}" if name in known else ""
                yield f"  {name}: missing{size_of}"
    else:
        yield f"release: {release.folder}, yours, {megabytes(folder_size(release.folder))}"
    for unit, why in read_excluded(builder.corpus).items():
        yield f"left out: {unit}: {why}"
    for name, folder in caches(builder):
        yield f"{name}: {folder}, {megabytes(folder_size(folder))}"


def caches(builder: type[CorpusBuilder]) -> list[tuple[str, Path]]:
    """The caches of a corpus that may be removed at any time."""
    return [
        ("shards", home() / "shards" / builder.corpus),
        ("fetched", home() / "releases" / builder.corpus),
    ]


def folder_size(folder: Path) -> int:
    """Bytes of all files in a folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def megabytes(size: int) -> str:
    """A number of bytes, to be read."""
    return f"{size / 1e6:,.1f} MB"


def remove(folders: Iterable[Path]) -> None:
    """Remove caches; a shard or an archive is whole or gone, whenever this is interrupted."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
