"""Read the state of a dataset repository on the Hugging Face Hub; retry and explain failures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

import huggingface_hub
from huggingface_hub import HfApi, RepoFile, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from builders.errors import CorpusError
from builders.export.manifest import MANIFEST, Manifest, sha256
from builders.urls import is_hub_name

try:  # what the client sends requests with since its version 2
    import httpx2

    if int(huggingface_hub.__version__.partition(".")[0]) < 2:
        raise ImportError("it is older than 2")
except ImportError as error:
    raise CorpusError(
        "cannot talk to the Hub",
        why=f"huggingface_hub is {huggingface_hub.__version__}, and this needs 2 or newer: {error}",
        fix="pip install 'auditory-builders[hub]'; loading and exports work with any version",
    ) from error

#: Seconds to wait before each retry of a request that failed on the network or at the Hub. The
#: client itself retries what it knows to be safe, mainly uploads; these are for all other requests.
DELAYS = (1.0, 4.0)

AGAIN = "run it again; what was sent already is not sent again"
LOG_IN = "log in with `hf auth login`"

# HTTP codes: timed out, changed by somebody else, too early, too many requests.
_PASSING = (408, 412, 425, 429)

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Remote:
    """What a repository holds at one commit.

    Attributes
    ----------
    repository, commit : str
        Name of the repository, and its commit; "" if it does not exist or is not visible.
    private : bool
        Whether the repository is private.
    sizes : dict of str to int
        Size of each file in bytes, by path.
    large : dict of str to str
        The sha256 of each large file, which the Hub keeps outside git.
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
        """The hexadecimal sha256 of a file: stated by the Hub if it is large, else computed."""
        return self.large.get(path) or sha256(self.read(path))

    def manifest(self) -> Manifest | None:
        """The manifest of the repository, or None."""
        if MANIFEST not in self.sizes:
            return None
        return Manifest.from_json(self.read(MANIFEST), f"{self.repository}: {MANIFEST}")

    def problems(self, manifest: Manifest) -> list[str]:
        """One line per difference from a manifest; large files are not downloaded.

        Files from others are ignored, except Parquet files: these would be loaded.
        """
        known = {*manifest.files, *manifest.shards}
        sizes = {
            path: size
            for path, size in self.sizes.items()
            if path in known or path.endswith(".parquet")
        }
        return manifest.problems(sizes, self.sha256)


def check_name(repository: str) -> None:
    """Raise a `CorpusError` if `repository` is not a valid repository name."""
    if not is_hub_name(repository):
        raise CorpusError(
            f"{repository!r} is no name of a repository",
            why="it is <user or organisation>/<name>, of letters, digits, dots, - and _",
            fix="name one like me/wingert2026",
        )


def check_login() -> None:
    """Raise an error if nobody is logged in, or if the Hub does not accept the token."""
    if not get_token():
        raise CorpusError("nobody is logged in to the Hub", fix=f"{LOG_IN}, or set HF_TOKEN")
    HfApi().whoami()


def read_repository(repository: str) -> Remote:
    """Read the current state of a repository from the Hub."""
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
    """Call a function that asks the Hub; retry after a while if that may help.

    Parameters
    ----------
    what : str
        First line of the error message, if all attempts fail.
    ask : callable
        The function. Calling it again after a failure must be safe.

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
        except RuntimeError as error:  # raised by an upload thread; its cause says more
            failure = error.__cause__ or error
        delay = next(delays, None) if _is_passing(failure) else None
        if delay is None:
            raise _explained(what, failure) from failure
        time.sleep(delay)


def _is_passing(failure: BaseException) -> bool:
    if isinstance(failure, HfHubHTTPError):
        status = failure.response.status_code
        return status >= 500 or status in _PASSING
    # If a gateway is down, it answers with HTML, and the client fails to parse it as JSON.
    return isinstance(failure, json.JSONDecodeError) or not isinstance(failure, ValueError)


def _explained(what: str, failure: BaseException) -> CorpusError:
    """Make an error without addresses: a signed address of a large file gives access to it."""
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
