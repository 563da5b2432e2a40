"""Manages files on disk: what to fetch in advance, what is there, and what can be removed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import fsspec
from filelock import Timeout

from builders.corpus.builder import CorpusBuilder
from builders.corpus.registry import corpora
from builders.errors import CorpusError
from builders.files import files_below, folder_size, home, locked, megabytes, user_path
from builders.release.archive import Archive
from builders.release.local import Release
from builders.release.tars import UNPACKED
from builders.shards.excluded import read_excluded
from builders.urls import repository_url

#: The names of a shard's files: complete, being written, and the notes on it.
SHARD = re.compile(
    r".+\.[0-9a-f]{32}(\.[0-9a-f]{32}\.(parquet|\w+\.arrow)|\.partial|\.notes(\.\d+\.\d+)?)"
)
#: Lock files used on disks that do not support locks.
HELD = "locks/*.lock.held"
#: The names of hidden files: notes on a record and its zips, locks, unfinished transfers.
NOTED = re.compile(
    r"\.(record-\d+\.json|index\.json|.+\.(directory(\.checksum|\.\d+)?|part|plain|lock(\.held)?|\d+\.\d+))"
)


def archives_of(
    corpus: type[CorpusBuilder], release: Release, names: Sequence[str]
) -> list[Archive]:
    """The archives that the configs `names` need; without names, all except waveforms' archives.

    Opens no archive. It reads the cell lists and the directories of the zips, and so fetches them;
    and the tars of archives that the configs need: see `Release.before_whole`.
    """
    configs = {config.name: config for config in corpus.BUILDER_CONFIGS}
    corpus.check_configs(names)
    globs = [glob for name in names for each in configs[name].globs.values() for glob in each]
    # Only these groups: finding the jobs of another one may fetch much.
    groups = dict.fromkeys(group for glob in globs or [""] for group in corpus.groups(glob))
    found_jobs = (job for group in groups for job in corpus.group(release, group))
    jobs = {path: job for job in found_jobs for path in job.paths}
    wanted = [job for path, job in jobs.items() if not path.startswith("waveforms/")]
    if names:
        filesystem, root = fsspec.filesystem("corpus"), repository_url(corpus.corpus)
        paths = [path for glob in globs for path in filesystem.glob(root + glob)]
        wanted = [jobs[path.partition("/")[2]] for path in paths]
    by_name = {job.name: job for job in wanted}
    found = {each.path / each.member: each for job in by_name.values() for each in job.archives()}
    return [found[path] for path in sorted(found)]


def status(corpus: type[CorpusBuilder]) -> dict[str, Any]:
    """What is on disk of a corpus, as JSON values; makes no request."""
    return {
        "release": corpus.release().status(),
        "left_out": read_excluded(corpus.corpus),
        "caches": {
            name: {"folder": str(folder), "bytes": folder_size(folder)}
            for name, folder in caches(corpus)
        },
    }


def lines(state: Mapping[str, Any]) -> Iterator[str]:
    """A `status` as lines of text."""
    if error := state.get("error"):
        yield error
        return
    release = state["release"]
    if source := release.get("source"):
        yield f"release: {release['folder']}, fetched on demand from {source}"
    else:
        yield f"release: {release['folder']}, yours, {megabytes(release['bytes'])}"
    for name, file in release.get("files", {}).items():
        yield f"  {name}: {_file_line(file)}"
    for unit, why in state["left_out"].items():
        yield f"left out: {unit}: {why}"
    for name, cache in state["caches"].items():
        yield f"{name}: {cache['folder']}, {megabytes(cache['bytes'])}"


def _file_line(file: Mapping[str, Any]) -> str:
    here, missing = file["bytes"], file["missing"]
    if "archives" in file:
        n, of = file["archives"]
        return f"{n} of {of} archives here, {megabytes(here)}; {megabytes(missing)} missing"
    if not missing and missing is not None:
        return f"here, {megabytes(here)}"
    return f"missing, {megabytes(missing)}" if missing else "missing"


def caches(corpus: type[CorpusBuilder]) -> list[tuple[str, Path]]:
    """The caches of a corpus that may be removed at any time."""
    return [
        ("shards", home() / "shards" / corpus.corpus),
        ("fetched", home() / "releases" / corpus.corpus),
    ]


def own_files(corpus: type[CorpusBuilder], folder: Path) -> list[Path]:
    """The files in one of the `caches` that this package has made.

    In the cache of fetched files, these are all files with the names of published files.

    Raises
    ------
    CorpusError
        If an environment variable names the folder, one inside it, or one that it links to.
    """
    shards, _ = (each for _, each in caches(corpus))
    if folder == shards:
        found = [
            path
            for path in files_below(folder)
            if SHARD.fullmatch(path.name) or path.match("locks/*.lock") or path.match(HELD)
        ]
    else:
        tops = [*corpus.published]
        tops += [name.removesuffix(".zip") for name in tops if name.endswith(".zip")]
        files = files_below(folder)
        found = [path for path in files if _is_fetched(path.relative_to(folder), tops)]
    _check_not_yours(folder, {path.parent.resolve() for path in found})
    return found


def _check_not_yours(folder: Path, places: Iterable[Path]) -> None:
    """Raise if ``<CORPUS>_DATA`` names the folder, one inside it, or one that holds a place."""
    for name in corpora():
        variable = f"{name.upper()}_DATA"
        if not (named := os.environ.get(variable)) or not folder.is_dir():
            continue
        owned = user_path(variable, named).resolve()
        is_below = folder.resolve() in (owned, *owned.parents)
        if is_below or any(owned in (place, *place.parents) for place in places):
            why = f"{variable} names {owned}: it is yours"
            raise CorpusError(f"cannot remove {folder}", why=why)


def _is_fetched(path: Path, tops: Sequence[str]) -> bool:
    """Whether this is a published file, a member of a published zip, or a note on one of them."""
    if path.name.startswith("."):
        return bool(NOTED.fullmatch(path.name))
    return (path.parts[0] in tops or path.parts[0].startswith(UNPACKED)) and len(path.parts) <= 2


def remove(folder: Path, files: Iterable[Path]) -> list[str]:
    """Remove files of a cache, and the folders that are then empty.

    If this is interrupted, each shard or archive is either complete or gone.

    Returns
    -------
    list of str
        One line per file that could not be removed, with the reason.
    """
    failures = []
    for path in files:
        try:
            with locked(path, timeout=0) if path.suffix == ".lock" else nullcontext():
                path.unlink(missing_ok=True)
        except Timeout:
            failures.append(f"{path}: another process is at work")
        except OSError as error:
            failures.append(f"{path}: {error.strerror}")
    for top, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # not empty, or a link
            Path(top).rmdir()
    return failures
