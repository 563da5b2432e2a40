"""Patches `datasets` for ``corpus://``: changed shards, splits without rows, notes, offline mode.

Nothing else in `datasets` is patched; other data sets load as usual.

`datasets` finds the Arrow tables of an earlier load by the config's name and the *patterns* in the
card's YAML, and an earlier download by its URL. It asks for ETags, but uses them for neither.
Without this module, a load after an archive has changed would return the old data.

So once a config's ``corpus://`` files are resolved, each is pinned to its content,
``corpus://<corpus>@<etag>/<path>``, and the folder of the Arrow tables is named after the pinned
files. A pinned shard can no longer be opened once its content changes.

`datasets` also raises an error for a split without rows. With this patch the split loads with 0
rows: a site may have only validation stimuli, and a filter may match nothing.

In its offline mode, `datasets` refuses all files but local ones. What ``corpus://`` needs is
checked where it is fetched: a release on disk loads, and one that is not there says so.

Only `datasets` knows when a load is complete. At that point, one warning says how many notes there
are on the loaded data.
"""

from __future__ import annotations

from typing import Any

from datasets import (
    BuilderConfig,
    Dataset,
    DatasetInfo,
    Features,
    Split,
    SplitDict,
    SplitInfo,
)
from datasets.arrow_reader import ArrowReader
from datasets.data_files import DataFilesDict, DataFilesList
from datasets.fingerprint import Hasher
from datasets.packaged_modules.parquet.parquet import Parquet
from datasets.utils import file_utils
from fsspec.core import url_to_fs

from builders.corpus.registry import find_corpus
from builders.errors import CorpusError
from builders.repository import findings, preparing
from builders.repository.card import described
from builders.shards.notes import Note
from builders.urls import SCHEME, pinned_url, split_path

#: How many reasons an error lists.
REASONS_LISTED = 5

_create_config_id = BuilderConfig.create_config_id
_info = Parquet._info
_as_split = Parquet._as_dataset
_as_dataset = Parquet.as_dataset
_as_streaming_dataset = Parquet.as_streaming_dataset
_raise_if_offline = file_utils._raise_if_offline_mode_is_enabled


def _is_of_corpus(config: BuilderConfig) -> bool:
    """Whether any file of a config comes from ``corpus://``."""
    files = config.data_files if isinstance(config.data_files, DataFilesDict) else {}
    return any(url.startswith(SCHEME) for of_split in files.values() for url in of_split)


def _pin_all(files: DataFilesList) -> list[str]:
    """Pin each ``corpus://<corpus>/<path>`` to its content; other URLs stay unchanged."""
    # `datasets` has just asked for the ETags. If it has dropped files since then, the ETags can no
    # longer be matched to the files, and are asked for again.
    known = files.origin_metadata
    if len(known) != len(files):
        known = [() for _ in files]
    return [
        _pin(url, *of) if url.startswith(SCHEME) else url
        for url, of in zip(files, known, strict=True)
    ]


def _pin(url: str, now: str = "") -> str:
    """Pin ``corpus://<corpus>/<path>`` to its content; a pinned URL stays unchanged."""
    corpus, etag, path = split_path(url)
    if not (etag or now):
        filesystem, inside = url_to_fs(url)
        now = filesystem.info(inside)["ETag"]
    return pinned_url(corpus, etag or now, path)


def _pin_and_create_config_id(self: BuilderConfig, *args: Any, **kwargs: Any) -> str:
    config_id = str(_create_config_id(self, *args, **kwargs))
    if not _is_of_corpus(self):
        return config_id
    pinned = DataFilesDict()
    for split, files in self.data_files.items():
        pinned[split] = DataFilesList(_pin_all(files), files.origin_metadata)
    self.data_files = pinned
    return f"{config_id}-{Hasher.hash(dict(pinned))}"


def _filled_info(self: Parquet) -> DatasetInfo:
    """Replaces `Parquet._info`: what the corpus' card says, the features, the names of the splits.

    The numbers of rows are known once a config is built; until then they are None.
    """
    info = _info(self)
    if not _is_of_corpus(self.config):
        return info
    first = _files(self.config)[0]
    info.update(DatasetInfo(**described(find_corpus(split_path(first)[0]))))
    if info.features is None:
        filesystem, path = url_to_fs(first)
        features, columns = filesystem.features(path), self.config.columns or ()
        info.features = Features({k: v for k, v in features.items() if not columns or k in columns})
    info.splits = SplitDict()
    for name in self.config.data_files:
        info.splits.add(SplitInfo(str(name), None, None))
    return info


def _prepare_anew(self: Parquet, *args: Any, **kwargs: Any) -> Any:
    """Replaces `Parquet._download_and_prepare`, which compares the splits with those expected."""
    if _is_of_corpus(self.config):
        self.info.splits = None
    return preparing.prepare(self, *args, **kwargs)


def _raise_if_offline_and_elsewhere(message: str | None = None) -> None:
    """Replaces a function of `datasets` that is told "Tried to reach <URL>"."""
    if f" {SCHEME}" not in (message or ""):
        _raise_if_offline(message)


def _as_split_or_empty(self: Parquet, split: Any, in_memory: bool = False) -> Dataset:
    """Replaces `Parquet._as_dataset`, which reads a split, a part of one, or a sum of splits."""
    if _is_of_corpus(self.config):
        reader, splits = ArrowReader("", self.info), self.info.splits.values()
        if not reader.get_file_instructions(self.dataset_name, split, splits):
            return _empty(self, split)
    return _as_split(self, split, in_memory)


def _empty(builder: Parquet, split: Any) -> Dataset:
    """The data set of 0 rows that is returned for a split without rows.

    Every load of such a split calls this, also from the Arrow tables of an earlier load; only
    streams do not. ``builder.info.splits`` has the numbers of rows of the other splits.
    """
    columns: dict[str, list[Any]] = {name: [] for name in builder.info.features}
    return Dataset.from_dict(columns, info=builder.info, split=Split(str(split)))


def _files(config: BuilderConfig) -> list[str]:
    return [url for files in config.data_files.values() for url in files if url.startswith(SCHEME)]


def _as_dataset_with_notes(self: Parquet, *args: Any, **kwargs: Any) -> Any:
    """Replaces `Parquet.as_dataset`, the last step of each map-style load."""
    if _is_of_corpus(self.config):
        corpus, notes = findings.of_files(_files(self.config))
        # A note on the release or a whole session can explain missing rows; one on a cell cannot.
        reasons = [note for note in notes if not (note.session and note.subject)]
        if reasons and not any(split.num_examples for split in self.info.splits.values()):
            _refuse_nothing(corpus, self.config, reasons)
        findings.warn_of(corpus, notes)
    return _as_dataset(self, *args, **kwargs)


def _refuse_nothing(corpus: str, config: BuilderConfig, notes: list[Note]) -> None:
    """Raise for a config without any rows, unless the user's own filter removed them."""
    filters = {each.name: each.filters for each in find_corpus(corpus).BUILDER_CONFIGS}
    if config.filters == filters.get(config.name):
        reasons = "; ".join(map(str, notes[:REASONS_LISTED]))
        more = f"; and {len(notes) - REASONS_LISTED} more" if len(notes) > REASONS_LISTED else ""
        raise CorpusError(
            f"{corpus} has no data for {config.name!r}",
            why=reasons + more,
            fix=f"`builders info {corpus}` lists what is left out or missing",
        )


def _as_stream_with_notes(self: Parquet, *args: Any, **kwargs: Any) -> Any:
    """Replaces `Parquet.as_streaming_dataset`; watches for notes on shards built later."""
    if _is_of_corpus(self.config):
        findings.watch(_files(self.config))
        # So that the first shard is opened now: from then on its archive is known by its content,
        # and touching it changes nothing.
        self.info.features = self.config.features
    return _as_streaming_dataset(self, *args, **kwargs)


def install() -> None:
    """Patch `datasets` in this process; calling it again changes nothing."""
    preparing.install()
    BuilderConfig.create_config_id = _pin_and_create_config_id
    Parquet._info = _filled_info
    Parquet._download_and_prepare = _prepare_anew
    Parquet._as_dataset = _as_split_or_empty
    Parquet.as_dataset = _as_dataset_with_notes
    Parquet.as_streaming_dataset = _as_stream_with_notes
    file_utils._raise_if_offline_mode_is_enabled = _raise_if_offline_and_elsewhere
