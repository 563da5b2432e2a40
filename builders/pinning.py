"""Make `datasets` notice that a shard's content has changed.

`datasets` finds the Arrow tables of an earlier load by the config's name and the *patterns* in the
card's YAML, and an earlier download by its URL: it asks for ETags, and then uses them for neither.
Without this module a changed archive would go on giving the data of the old one.

So a config's ``corpus://`` files are pinned to their content once they are resolved,
``corpus://<corpus>@<etag>/<path>``, and the Arrow tables' folder is named after what they are
pinned to. A pinned shard whose content changes later on can no longer be opened.
"""

from __future__ import annotations

from typing import Any

from datasets import BuilderConfig
from datasets.data_files import DataFilesDict, DataFilesList
from datasets.fingerprint import Hasher

SCHEME = "corpus://"

_create_config_id = BuilderConfig.create_config_id


def pin(url: str, etag: str) -> str:
    """``corpus://<corpus>/<path>`` pinned to a content; any other URL as it is."""
    corpus, slash, path = url.removeprefix(SCHEME).partition("/")
    if not url.startswith(SCHEME) or "@" in corpus:
        return url
    return f"{SCHEME}{corpus}@{etag}{slash}{path}"


def _pin_and_create_config_id(self: BuilderConfig, *args: Any, **kwargs: Any) -> str:
    config_id = str(_create_config_id(self, *args, **kwargs))
    if not isinstance(self.data_files, DataFilesDict):
        return config_id
    pinned = DataFilesDict()
    for split, files in self.data_files.items():
        urls = [
            pin(url, metadata[0]) if metadata else url
            for url, metadata in zip(files, files.origin_metadata, strict=True)
        ]
        pinned[split] = DataFilesList(urls, files.origin_metadata)
    if pinned == self.data_files:
        return config_id
    self.data_files = pinned
    return f"{config_id}-{Hasher.hash(dict(pinned))}"


def install() -> None:
    """Teach `datasets` in this process; doing so twice changes nothing."""
    BuilderConfig.create_config_id = _pin_and_create_config_id
