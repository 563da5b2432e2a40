"""What a dataset repository on the Hugging Face Hub holds; asking the Hub, and what it refuses."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

import httpx2
from huggingface_hub import HfApi, RepoFile, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from builders.errors import CorpusError
from builders.export.manifest import MANIFEST, Manifest, sha256

#: Seconds to wait before what failed on the way, or at the Hub, is done again. The client itself
#: tries again what it knows to be safe, uploads above all; here it is whatever else is asked.
DELAYS = (1.0, 4.0)

AGAIN = "run it again: nothing is sent twice"
LOG_IN = "log in with `hf auth login`"

_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
# Timed out, changed by somebody else meanwhile, too early, too many.
_PASSING = (408, 412, 425, 429)

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Remote:
    """What a repository holds at one commit.

    Attributes
    ----------
    repository, commit : str
        Its name, and the commit; no commit where there is no such repository, or none to be seen.
    private : bool
        Whether only some can see it.
    sizes : dict of str to int
        Its files by path, and their sizes in bytes.
    large : dict of str to str
        The sha256 of those that the Hub keeps outside git.
    """

    repository: str
    commit: str = ""
    private: bool = True
    sizes: dict[str, int] = field(default_factory=dict)
    large: dict[str, str] = field(default_factory=dict)

    def read(self, path: str) -> bytes:
        """Content of a file."""
        file = HfApi().hf_hub_download(
            self.repository, path, repo_type="dataset", revision=self.commit
        )
        return Path(file).read_bytes()

    def sha256(self, path: str) -> str:
        """Checksum of a file, in hexadecimal: as the Hub states it, or of a small one as read."""
        return self.large.get(path) or sha256(self.read(path))

    def manifest(self) -> Manifest | None:
        """Its manifest, if it has one."""
        if MANIFEST not in self.sizes:
            return None
        return Manifest.from_json(self.read(MANIFEST), f"{self.repository}: {MANIFEST}")

    def problems(self, manifest: Manifest) -> list[str]:
        """What differs from a manifest, a line each; nothing is read of what is large.

        Files that others have put there do not matter, unless they are shards: those are loaded.
        """
        known = {*manifest.files, *manifest.shards}
        sizes = {
            path: size
            for path, size in self.sizes.items()
            if path in known or path.endswith(".parquet")
        }
        return manifest.problems(sizes, self.sha256)


def is_name(text: str) -> bool:
    """Whether a text may name a repository: ``<user or organisation>/<name>``."""
    return bool(_NAME.fullmatch(text))


def check_name(repository: str) -> None:
    """Raise a `CorpusError` for what cannot name a repository."""
    if not is_name(repository):
        raise CorpusError(
            f"{repository!r} is no name of a repository",
            why="it is <user or organisation>/<name>, of letters, digits, dots, - and _",
            fix="name one like me/wingert2026",
        )


def check_login() -> None:
    """Raise an error if nobody is logged in, or with a token that the Hub does not know."""
    if not get_token():
        raise CorpusError("nobody is logged in to the Hub", fix=f"{LOG_IN}, or set HF_TOKEN")
    HfApi().whoami()


def look(repository: str) -> Remote:
    """The repository as it is now."""
    api = HfApi()
    try:
        info = api.repo_info(repository, repo_type="dataset")
    except RepositoryNotFoundError:
        return Remote(repository)
    tree = api.list_repo_tree(repository, recursive=True, revision=info.sha, repo_type="dataset")
    files = [each for each in tree if isinstance(each, RepoFile)]
    return Remote(
        repository,
        info.sha or "",
        info.private is True,
        {each.path: each.size for each in files},
        {each.path: each.lfs.sha256 for each in files if each.lfs},
    )


def attempt(
    what: str,
    ask: Callable[Arguments, Answer],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Answer:
    """Ask the Hub, again after a while where that may help.

    Parameters
    ----------
    what : str
        What could not be done, if it comes to that.
    ask : callable
        It must not matter whether it is called once or, after it failed on the way, again.

    Raises
    ------
    CorpusError
        If the Hub refuses, or cannot be reached in several attempts.
    """
    delays = iter(DELAYS)
    while True:
        try:
            return ask(*args, **kwargs)
        except CorpusError:
            raise
        except (httpx2.HTTPError, ConnectionError, LocalEntryNotFoundError, ValueError) as error:
            failure: BaseException = error
        except RuntimeError as error:  # of one of the threads that upload; its cause says more
            failure = error.__cause__ or error
        delay = next(delays, None) if _is_passing(failure) else None
        if delay is None:
            raise _explained(what, failure) from failure
        time.sleep(delay)


def _is_passing(failure: BaseException) -> bool:
    if isinstance(failure, HfHubHTTPError):
        status = failure.response.status_code
        return status >= 500 or status in _PASSING
    # A gateway that is down answers in HTML where the client reads JSON.
    return isinstance(failure, json.JSONDecodeError) or not isinstance(failure, ValueError)


def _explained(what: str, failure: BaseException) -> CorpusError:
    """The error without addresses: those of large files are signed, and open to who has them."""
    fix = AGAIN if _is_passing(failure) else ""
    if not isinstance(failure, HfHubHTTPError):
        return CorpusError(what, why=f"{type(failure).__name__}: {failure}", fix=fix)
    status = failure.response.status_code
    said = failure.server_message or failure.response.headers.get("X-Error-Message", "")
    if status == 401:
        fix = f"{LOG_IN}, with a token that is still valid; HF_TOKEN goes before it"
    elif status == 403:
        fix = f"name a repository of your own, or {LOG_IN} with a token that may write there"
    return CorpusError(what, why=f"the Hub answered {status} {said}".rstrip(), fix=fix)
