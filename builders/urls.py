"""Addresses of shards: ``corpus://<corpus>/<path>``, or ``corpus://<corpus>@<etag>/<path>``."""

from __future__ import annotations

SCHEME = "corpus://"


def split_path(path: str) -> tuple[str, str, str]:
    """Corpus, the ETag that it is pinned to or "", and path in the repository."""
    root, _, inside = path.removeprefix(SCHEME).partition("/")
    corpus, _, etag = root.partition("@")
    return corpus, etag, inside


def pinned_url(corpus: str, etag: str, path: str) -> str:
    """The address of a shard with a certain content."""
    return f"{SCHEME}{corpus}@{etag}/{path}"


def repository_url(corpus: str) -> str:
    """Address of the virtual dataset repository of a corpus, with the last slash."""
    return f"corpus://{corpus}/"
