"""Addresses of shards: ``corpus://<corpus>/<path>``, or ``corpus://<corpus>@<etag>/<path>``."""

from __future__ import annotations

SCHEME = "corpus://"


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
