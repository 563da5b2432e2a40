"""Lets `datasets` map the shards of a corpus into memory without copying them.

`datasets` would first download all shards, which builds them as Parquet, and then copy one after
the other to an Arrow file of its own. With this patch, shards are built as Arrow files at once, and
a data set gets links to them: configs that have the same shards share their files. The workers of a
load share its jobs. Its other steps, streams, and data sets that have other files stay as they are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features
from datasets.exceptions import DatasetGenerationError
from datasets.fingerprint import Hasher
from datasets.packaged_modules.parquet.parquet import Parquet
from filelock import Timeout
from fsspec.core import url_to_fs
from multiprocess import parent_process

from builders.errors import CorpusError
from builders.shards.wanted import Wanted
from builders.shards.writer import WHOLE, Form, mapped
from builders.threads import Threads, in_turn
from builders.urls import SCHEME, split_path

_prepare = Parquet._download_and_prepare
_split_generators = Parquet._split_generators
_prepare_split_single = Parquet._prepare_split_single

#: Two jobs are begun at once.
_AHEAD = Threads(2)


class _Refused(DatasetGenerationError):
    """A `CorpusError` on its way through `datasets`, which would hide all but its own errors."""


def prepare(self: Parquet, *args: Any, **kwargs: Any) -> Any:
    """As `Parquet._download_and_prepare`, but raises the `CorpusError` of whatever process."""
    self._may_link = kwargs.get("file_format") == "arrow" and "max_shard_size" not in kwargs
    try:
        return _prepare(self, *args, **kwargs)
    except _Refused as error:
        raise error.args[0] from error


def _splits_in_place(self: Parquet, manager: Any) -> Any:
    """Replaces `Parquet._split_generators`, which downloads the files with a manager."""
    urls = _urls(self)
    self._in_place = None
    is_of_corpora = urls and all(url.startswith(SCHEME) for url in urls)
    if is_of_corpora and not manager.is_streaming and getattr(self, "_may_link", False):
        # A worker that is not forked imports the file system's module, and so this patch.
        self._in_place = type(url_to_fs(urls[0])[0])
        for url in {split_path(url)[0]: url for url in urls}.values():
            _wanted(url).cache.drop_unused()
        # Versions of `datasets` differ in which of these they call.
        same = {name: lambda files: files for name in ("download", "download_and_extract")}
        manager = SimpleNamespace(
            download_config=SimpleNamespace(), iter_files=lambda file: [file], **same
        )
    return _split_generators(self, manager)


def _prepare_in_place(self: Parquet, **asked: Any) -> Iterator[tuple[int, bool, Any]]:
    """Replaces `Parquet._prepare_split_single`, which writes the Arrow files of a part of a split.

    It yields the number of this part, whether all is written, and either how many rows were added,
    or totals: rows, bytes, features, files written, rows of each; since `datasets` 4.5 also files
    read, rows of each.
    """
    if not getattr(self, "_in_place", None):
        yield from _prepare_split_single(self, **asked)
        return
    # Without files, `datasets` writes one without rows, which stays if no shard has any.
    of_nothing = {**asked, "gen_kwargs": {name: [] for name in asked["gen_kwargs"]}}
    *_, (part, _, totals) = _prepare_split_single(self, **of_nothing)
    path = asked["fpath"].replace("JJJJJ", f"{part:05d}")
    lengths: list[int] = []
    n_bytes = 0
    try:
        for opened, table in _arrow_files(self, asked["gen_kwargs"]["files"]):
            if len(table):
                opened(partial(_link, Path(path.replace("SSSSS", f"{len(lengths):05d}"))))
                lengths.append(len(table))
                n_bytes += table.nbytes
                yield part, False, len(table)
    except CorpusError as error:
        raise _Refused(error) from error
    if lengths:
        files = len(lengths), lengths
        _, _, features, _, _, *read = totals
        totals = sum(lengths), n_bytes, features, *files, *(files if read else ())
    yield part, True, totals


# A worker gets it by this name.
_prepare_in_place.__name__ = _prepare_split_single.__name__


def _arrow_files(
    self: Parquet, files: Iterable[Any]
) -> Iterator[tuple[Callable[..., Any], pa.Table]]:
    """For each shard, in order: what calls a function with its Arrow file, and its rows."""
    urls = [file if isinstance(file, str) else file[0] for file in files]
    wanted = [_wanted(url) for url in urls]
    if not wanted:
        return
    form = _form(self, wanted[0].job.features)
    beside = [split_path(url)[2] for url in _urls(self)]
    first: dict[tuple[Path, str], Wanted] = {}
    for each in wanted:
        first.setdefault((each.cache.root, each.job.name), each)
    built: Iterator[pa.Table]
    helping: Iterator[bool] = iter(())
    if parent_process():  # a worker builds one job at a time: the others build theirs
        helping = _helping(_urls(self), urls[0], first.values(), form, beside)
        built = (_open(each, form, beside, helping) for each in first.values())
    else:
        calls = (partial(each.open, mapped, form, beside) for each in first.values())
        built = in_turn(calls, _AHEAD, 2)
    for each in wanted:
        opened = partial(each.open, form=form, beside=beside)
        is_first = each is first[each.cache.root, each.job.name]
        yield opened, next(built) if is_first else opened(mapped)
    while next(helping, False):
        pass


def _open(wanted: Wanted, form: Form, beside: Collection[str], helping: Iterator[bool]) -> pa.Table:
    """The rows of a shard; while another worker builds it, this one builds something else."""
    while True:
        try:
            return wanted.open(mapped, form, beside, timeout=0)
        except Timeout:
            if not next(helping, False):
                return wanted.open(mapped, form, beside)


def _helping(
    urls: list[str], begin: str, own: Iterable[Wanted], form: Form, beside: Collection[str]
) -> Iterator[bool]:
    """Build what other workers have not begun: one job at each step, which gives True.

    `datasets` gives each worker the same number of shards in a row, however long each takes. This
    worker's begin at `begin`, and each worker builds its own from the first one on. So this goes
    backwards, from the one before `begin`.
    """
    seen = {(each.cache.corpus, path) for each in own for path in each.job.paths}
    at = urls.index(begin)
    for url in reversed(urls[at:] + urls[:at]):
        corpus, _, path = split_path(url)
        if (corpus, path) in seen:
            continue
        each = _wanted(url)
        seen.update((corpus, path) for path in each.job.paths)
        if each.is_missing(form):
            # Another worker builds it, or will raise what is wrong with it.
            with suppress(Timeout, CorpusError):
                each.open(mapped, form, beside, timeout=0)
            yield True


def _form(self: Parquet, stored: Features) -> Form:
    """How the data set holds its shards, which have the features `stored`."""
    config, features = self.config, self.info.features
    if config.columns is None and config.filters is None and features == stored:
        return Form(WHOLE, features)
    rows = config.filters
    if isinstance(rows, list):
        rows = pq.filters_to_expression(rows)
    name = Hasher.hash([config.columns, config.filters, repr(features)])
    return Form(name, features, config.columns, rows)


def _link(path: Path, file: Path) -> None:
    """Give a file another name in another folder, or copy it to where it cannot have one."""
    path.unlink(missing_ok=True)
    try:
        os.link(file, path)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, one without links, or somebody else's file
        shutil.copyfile(file, path)


def _urls(self: Parquet) -> list[str]:
    return [url for files in (self.config.data_files or {}).values() for url in files]


def _wanted(url: str) -> Wanted:
    filesystem: Any = url_to_fs(url)[0]
    wanted: Wanted = filesystem.wanted(url)
    return wanted


def install() -> None:
    """Patch `datasets` in this process; calling it again changes nothing."""
    Parquet._split_generators = _splits_in_place
    Parquet._prepare_split_single = _prepare_in_place
