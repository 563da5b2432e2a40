"""Push a corpus to a dataset repository on the Hugging Face Hub, and verify that it arrived.

A push sends an export (`builders.export.run`) that is kept in a staging folder. The repository is
read before the push, so that only differences are sent, and again afterwards. A push can be
repeated at any time: what has arrived is not sent twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import Timeout
from huggingface_hub import HfApi

from builders.corpus.builder import CorpusBuilder
from builders.errors import CorpusError
from builders.export.manifest import MANIFEST, Manifest, check_own, file_of
from builders.export.remote import (
    AGAIN,
    LOG_IN,
    Remote,
    attempt,
    check_login,
    check_name,
    read_repository,
)
from builders.export.run import export
from builders.files import home, locked

#: Values of the Hub's licence field that do not say what is allowed.
NOT_OPEN = ("", "other", "unknown")


@dataclass(frozen=True)
class Push:
    """The result of a push, or of a dry run.

    Attributes
    ----------
    remote : Remote
        The repository after the push; in a dry run, its present state.
    manifest : Manifest
        What the repository holds after the push.
    changed : dict of str to int
        The files that are new or changed, and their sizes in bytes.
    removed : list of str
        Shards that are removed because the release no longer produces them.
    config : str
        Name of a config to load as an example.
    """

    remote: Remote
    manifest: Manifest
    changed: dict[str, int]
    removed: list[str]
    config: str

    def loading(self) -> list[str]:
        """The three lines that install `datasets` and load the repository."""
        login = " && hf auth login" if self.remote.private else ""
        return [
            f"pip install datasets{login}",
            "from datasets import load_dataset",
            f'data = load_dataset("{self.remote.repository}", "{self.config}")',
        ]


def push(
    corpus: type[CorpusBuilder],
    repository: str,
    configs: Sequence[str] = (),
    *,
    public: bool = False,
    licence: str = "",
    dry_run: bool = False,
) -> Push:
    """Export some configs, and all that the repository already holds; send what differs.

    A new repository is private unless `public`. The visibility of an existing one is not changed.

    Parameters
    ----------
    corpus : type of CorpusBuilder
        The corpus.
    repository : str
        ``<user or organisation>/<name>`` on the Hub; it is created if it does not exist.
    configs : sequence of str
        As in `builders.export.run.export`.
    public : bool
        Whether everybody may see the data.
    licence : str
        The Hub's name of a licence for the card, if the release names none.
    dry_run : bool
        If true, export and read the repository, but send nothing.

    Returns
    -------
    Push

    Raises
    ------
    CorpusError
        If nobody is logged in. If the repository is public and `public` is false; `public` is true
        without an open licence; or the repository holds other files and no manifest. If a shard
        cannot be built; the Hub refuses, or cannot be reached in several attempts; or the
        repository afterwards differs from what was sent.
    """
    cannot = f"cannot push to {repository}"
    check_name(repository)
    metadata = _licence(corpus, licence, public)
    if not dry_run:
        attempt(cannot, check_login)
    remote = attempt(cannot, read_repository, repository)
    _check_visibility(remote, public)
    check_own(remote.sizes, repository)
    if not remote.commit and not dry_run:  # before hours of work: it may not be allowed
        remote = attempt(cannot, _create, repository, public)
    folder = home() / "staging" / corpus.corpus / repository.replace("/", "--")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder.with_name(f"{folder.name}.lock"), timeout=0):
            before = attempt(cannot, _configs_there, corpus, remote)
            manifest = _stage(corpus, before, configs, folder, metadata)
            changed, removed = attempt(cannot, _differences, remote, manifest, folder)
            if not dry_run:
                if changed or removed:
                    attempt(cannot, _send, repository, manifest, folder, public)
                remote = attempt(cannot, read_repository, repository)
                attempt(cannot, _check_arrival, remote, manifest, folder)
    except Timeout as error:
        raise CorpusError(cannot, where=folder, why="another process is at it") from error
    if not remote.commit:
        remote = replace(remote, private=not public)
    names = [*configs, corpus.DEFAULT_CONFIG_NAME, *manifest.configs]
    config = next(name for name in names if name in manifest.configs)
    return Push(remote, manifest, changed, removed, config)


def verify_repository(repository: str) -> list[str]:
    """Compare a repository with its manifest; checksums of large files are those the Hub states.

    Parameters
    ----------
    repository : str
        ``<user or organisation>/<name>`` on the Hub.

    Returns
    -------
    list of str
        One line per file that is missing, changed, or not in the manifest; empty if all match.

    Raises
    ------
    CorpusError
        If the repository does not exist, has no manifest, or the Hub does not answer.
    """
    check_name(repository)
    return attempt(f"cannot verify {repository}", _verify, repository)


def _verify(repository: str) -> list[str]:
    remote = read_repository(repository)
    if not remote.commit:
        raise CorpusError(
            f"there is no dataset repository {repository}",
            why="neither a folder of that name, nor a repository that you may see",
            fix=f"check the name, or {LOG_IN}",
        )
    if (manifest := remote.manifest()) is None:
        raise CorpusError(
            f"there is no {MANIFEST}",
            where=repository,
            fix="name a repository that `builders push` has written",
        )
    return remote.problems(manifest)


def _licence(corpus: type[CorpusBuilder], licence: str, public: bool) -> dict[str, str]:
    """The licence entry of the card, empty if `licence` is; checks that public data have one."""
    if public and (licence or corpus.card.get("license", "")) in NOT_OPEN:
        raise CorpusError(
            f"cannot publish {corpus.corpus}",
            why=f"{corpus.source} names no open licence",
            fix="ask its authors, and name the licence on which you agree: --licence cc-by-4.0; "
            "or push to a private repository, without --public",
        )
    return {"license": licence} if licence else {}


def _check_visibility(remote: Remote, public: bool) -> None:
    if not remote.private and not public:
        raise CorpusError(
            f"{remote.repository} is public",
            why="all can see what is pushed to it; nothing was sent",
            fix="say --public if they may; or name another repository, or make this one private in "
            "its settings on the Hub",
        )


def _create(repository: str, public: bool) -> Remote:
    HfApi().create_repo(repository, repo_type="dataset", private=not public, exist_ok=True)
    return read_repository(repository)


def _configs_there(corpus: type[CorpusBuilder], remote: Remote) -> list[str]:
    """The configs that earlier pushes, from any machine, have put into the repository."""
    manifest = remote.manifest()
    if manifest and manifest.corpus != corpus.corpus:
        raise CorpusError(
            f"cannot push {corpus.corpus} to {remote.repository}",
            why=f"it holds {manifest.corpus}",
            fix="name another repository",
        )
    known = {config.name for config in corpus.BUILDER_CONFIGS}
    return [name for name in (manifest.configs if manifest else []) if name in known]


def _stage(
    corpus: type[CorpusBuilder],
    before: Sequence[str],
    configs: Sequence[str],
    folder: Path,
    metadata: Mapping[str, Any],
) -> Manifest:
    """Export the requested configs and all configs of the repository: the card describes both."""
    manifest = _export(corpus, configs, folder, metadata)
    if missing := [name for name in before if name not in manifest.configs]:
        manifest = _export(corpus, missing, folder, metadata)
    return manifest


def _export(
    corpus: type[CorpusBuilder], configs: Sequence[str], folder: Path, metadata: Mapping[str, Any]
) -> Manifest:
    done = export(corpus, configs, str(folder), metadata=metadata)
    if done.failures:
        raise CorpusError(
            "\n".join([*done.failures, f"{len(done.failures)} jobs failed"]),
            why="nothing was sent",
        )
    return done.manifest


def _differences(
    remote: Remote, manifest: Manifest, folder: Path
) -> tuple[dict[str, int], list[str]]:
    """The new or changed files with their sizes, and the shards to delete from the repository.

    A shard that is in the repository's manifest but not in the new one no longer comes from any
    recording. If it stayed, it would still match the globs and be loaded.
    """
    own = file_of((folder / MANIFEST).read_bytes())
    files = {**manifest.files, **manifest.shards, MANIFEST: own}
    changed = {
        path: file.bytes
        for path, file in sorted(files.items())
        if remote.sizes.get(path) != file.bytes or remote.sha256(path) != file.sha256
    }
    before = remote.manifest()
    gone = set(before.shards if before else ()).intersection(remote.sizes) - set(manifest.shards)
    return changed, sorted(gone)


def _send(repository: str, manifest: Manifest, folder: Path, public: bool) -> None:
    """Send new and changed files, and delete old shards, in one commit.

    If the Hub's answer is lost, the commit may or may not have happened. So the repository is read
    again at each attempt.
    """
    remote = read_repository(repository)
    _check_visibility(remote, public)
    changed, removed = _differences(remote, manifest, folder)
    if changed or removed:
        HfApi().upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=list(changed),
            delete_patterns=removed,
            commit_message=f"{manifest.corpus}: {len(changed)} files, {len(removed)} removed",
        )


def _check_arrival(remote: Remote, manifest: Manifest, folder: Path) -> None:
    problems = remote.problems(manifest)
    if remote.read(MANIFEST) != (folder / MANIFEST).read_bytes():
        problems.append(f"{MANIFEST}: not the one that was sent")
    if problems:
        raise CorpusError(
            "\n".join([*problems, f"{len(problems)} problems in {remote.repository}"]),
            why="it was read back, and is not what was sent; has somebody else written to it?",
            fix=f"delete by hand what is not in {MANIFEST}, and {AGAIN}",
        )
