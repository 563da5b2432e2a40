"""A dataset repository in a folder: files, commits, and the objects that they refer to."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from tests.servers.hub.messages import Refusal


@dataclass(frozen=True)
class File:
    """A file of a commit: its git blob id (for an LFS file, its pointer's), size and SHA-256.

    `sha256` is empty for a regular file.
    """

    oid: str
    size: int
    sha256: str = ""

    @classmethod
    def regular(cls, content: bytes) -> File:
        return cls(git_oid(content), len(content))

    @classmethod
    def large(cls, sha256: str, size: int) -> File:
        return cls(git_oid(pointer(sha256, size)), size, sha256)

    @property
    def etag(self) -> str:
        """What the file's content is known by, on the wire and in the folder."""
        return self.sha256 or self.oid

    def lfs(self, name: str) -> dict[str, Any]:
        """The entry ``lfs`` of a listing, absent for a regular file; `name` is its key's name."""
        size = len(pointer(self.sha256, self.size))
        lfs = {name: self.sha256, "size": self.size, "pointerSize": size}
        return {"lfs": lfs} if self.sha256 else {}


def pointer(sha256: str, size: int) -> bytes:
    """What git stores in place of an LFS file (git-lfs specification, "The Pointer")."""
    lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{sha256}", f"size {size}")
    return "".join(line + "\n" for line in lines).encode()


def git_oid(content: bytes) -> str:
    """The id that git gives to a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there in full or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    partial.write_bytes(content)
    partial.replace(path)


class Repository:
    """A dataset repository in a folder: ``repository.json``, ``commits/``, ``objects/``."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder / name, name
        self.owner = name.partition("/")[0]

    def create(self, private: bool) -> None:
        """Make an empty repository, with the first commit that the Hub makes."""
        write_file(self.folder / "repository.json", json.dumps({"private": private}).encode())
        rules = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
        self.store(git_oid(rules), rules)
        self.commit({".gitattributes": File.regular(rules)}, "initial commit")

    def exists(self) -> bool:
        return (self.folder / "repository.json").exists()

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.folder / "repository.json").read_text())
        return state

    @property
    def private(self) -> bool:
        return bool(self.state["private"])

    @property
    def head(self) -> str:
        """The newest commit."""
        return str(self.state["head"])

    def commits(self, revision: str = "main") -> list[dict[str, Any]]:
        """A revision and all before it, newest first: ``id``, ``parent``, ``title``, ``date``."""
        found = []
        commit_id = self.head if revision == "main" else revision
        while commit_id:
            found.append(self._read(commit_id))
            commit_id = found[-1]["parent"]
        return found

    def files(self, revision: str = "main") -> dict[str, File]:
        """The files of a revision by path, in order."""
        commit = self._read(self.head if revision == "main" else revision)
        return {path: File(*values) for path, values in commit["files"].items()}

    def read(self, path: str, revision: str = "main") -> bytes:
        """The content of a file."""
        return self.object(self.files(revision)[path].etag).read_bytes()

    def commit(self, files: Mapping[str, File], title: str) -> str:
        """Make `files` the whole content of the repository; the commit, or the head if same."""
        state = self.state
        parent = state.get("head", "")
        if parent and dict(files) == self.files():
            return str(parent)
        date = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        values = {path: (file.oid, file.size, file.sha256) for path, file in sorted(files.items())}
        commit = {"parent": parent, "title": title, "date": date, "files": values}
        text = json.dumps(commit).encode()
        commit_id = hashlib.sha1(text).hexdigest()
        write_file(self.folder / "commits" / f"{commit_id}.json", text)
        write_file(
            self.folder / "repository.json", json.dumps(state | {"head": commit_id}).encode()
        )
        return commit_id

    def object(self, etag: str) -> Path:
        """Where content is stored, whether it is or not."""
        return self.folder / "objects" / etag

    def store(self, etag: str, content: bytes) -> None:
        write_file(self.object(etag), content)

    def stored(self) -> dict[str, int]:
        """Size in bytes of the LFS objects by SHA-256, committed or not."""
        objects = (self.folder / "objects").iterdir()
        return {path.name: path.stat().st_size for path in objects if len(path.name) == 64}

    def _read(self, commit_id: str) -> dict[str, Any]:
        path = self.folder / "commits" / f"{commit_id}.json"
        if not re.fullmatch("[0-9a-f]{40}", commit_id) or not path.exists():
            raise Refusal(404, f"Invalid rev id: {commit_id}", "RevisionNotFound")
        return {"id": commit_id, **json.loads(path.read_text())}


def front_matter(card: str) -> Any:
    """The YAML at the head of a card, parsed; None where there is none.

    Raises
    ------
    yaml.YAMLError
        If it is no YAML.
    """
    match = re.match(r"---\r?\n(.*?)^---\s*$", card, re.DOTALL | re.MULTILINE)
    return yaml.safe_load(match[1]) if match else None


def card_errors(card: str) -> list[str]:
    """What the Hub would find wrong with a card's YAML."""
    try:
        head = front_matter(card)
    except yaml.YAMLError as error:
        return [f"YAML: {error}"]
    if head is None:
        return []
    configs = head.get("configs", []) if isinstance(head, dict) else None
    infos = head.get("dataset_info", []) if isinstance(head, dict) else None
    if not isinstance(configs, list) or not isinstance(infos, list):
        return ["the metadata is not a mapping, or its configs or dataset_info are not a list"]
    names = {"configs": configs, "dataset_info": infos}
    errors = [
        f'"{key}[{number}].config_name" is required'
        for key, entries in names.items()
        for number, entry in enumerate(entries)
        if not isinstance(entry, dict) or not isinstance(entry.get("config_name"), str)
    ]
    splits = [
        split.get(key)
        for entries, of_entry, key in ((configs, "data_files", "split"), (infos, "splits", "name"))
        for entry in entries
        for split in (entry.get(of_entry, []) if isinstance(entry, dict) else ())
        if isinstance(split, dict)
    ]
    return errors + [
        f"{name!r} is no name of a split"
        for name in splits
        if not re.fullmatch(r"\w+(\.\w+)*", str(name))
    ]
