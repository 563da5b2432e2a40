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
from fsspec.core import url_to_fs

SCHEME = "corpus://"

_create_config_id = BuilderConfig.create_config_id


def _pin(url: str) -> str:
    """``corpus://<corpus>/<path>`` pinned to its content; any other URL as it is."""
    corpus, slash, path = url.removeprefix(SCHEME).partition("/")
    if not url.startswith(SCHEME) or "@" in corpus:
        return url
    filesystem, inside = url_to_fs(url)
    return f"{SCHEME}{corpus}@{filesystem.info(inside)['ETag']}{slash}{path}"


def _pin_and_create_config_id(self: BuilderConfig, *args: Any, **kwargs: Any) -> str:
    config_id = str(_create_config_id(self, *args, **kwargs))
    if not isinstance(self.data_files, DataFilesDict):
        return config_id
    if not any(url.startswith(SCHEME) for files in self.data_files.values() for url in files):
        return config_id
    pinned = DataFilesDict()
    for split, files in self.data_files.items():
        pinned[split] = DataFilesList([_pin(url) for url in files], files.origin_metadata)
    self.data_files = pinned
    return f"{config_id}-{Hasher.hash(dict(pinned))}"


def install() -> None:
    """Teach `datasets` in this process; doing so twice changes nothing."""
    BuilderConfig.create_config_id = _pin_and_create_config_id
