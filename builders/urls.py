"""Addresses of shards, and names of repositories on the Hub.

A shard is at ``corpus://<corpus>/<path>``, or ``corpus://<corpus>@<etag>/<path>``.
"""

from __future__ import annotations

import re

SCHEME = "corpus://"
_ON_HUB = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def split_path(path: str) -> tuple[str, str, str]:
    """Split an address into corpus, ETag ("" if it has none), and path in the repository."""
    root, _, inside = path.removeprefix(SCHEME).partition("/")
    corpus, _, etag = root.partition("@")
    return corpus, etag, inside


def pinned_url(corpus: str, etag: str, path: str) -> str:
    """The address of a shard whose content has this ETag."""
    return f"{SCHEME}{corpus}@{etag}/{path}"


def repository_url(corpus: str) -> str:
    """Address of a corpus' virtual dataset repository, with a final slash."""
    return f"corpus://{corpus}/"


def is_hub_name(text: str) -> bool:
    """Whether a text has the form of a name on the Hub: ``<user or organisation>/<name>``."""
    return bool(_ON_HUB.fullmatch(text))
