"""What the Hub answers, endpoint by endpoint."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from tests.servers.hub.messages import Answer, Call, Refusal, as_json
from tests.servers.hub.repository import File, Repository, card_errors, front_matter

if TYPE_CHECKING:
    from tests.servers.hub.server import HubServer

#: Files above this many bytes are stored as LFS objects, and so are binary and Parquet files.
REGULAR_BYTES = 10 << 20

Endpoint = Callable[["HubServer", Call], Answer]
ENDPOINTS: list[tuple[re.Pattern[str], Endpoint]] = []


def endpoint(pattern: str) -> Callable[[Endpoint], Endpoint]:
    """Register what answers requests whose ``METHOD path`` (still quoted) has this form."""
    pattern = pattern.replace("NAME", r"(?P<name>\w[\w.-]*/\w[\w.-]*)")
    pattern = pattern.replace("REVISION", r"(?P<revision>[^/]+)").replace("PATH", "(?P<path>.*)")

    def register(function: Endpoint) -> Endpoint:
        ENDPOINTS.append((re.compile(pattern), function))
        return function

    return register


@endpoint("GET /api/whoami-v2")
def whoami(hub: HubServer, call: Call) -> Answer:
    user = hub.user(call)
    if user is None:
        raise Refusal(401, "Invalid username or password.")
    access = {"displayName": "test", "role": "write"}
    return as_json(
        {"type": "user", "id": user, "name": user, "fullname": user, "orgs": []}
        | {"auth": {"type": "access_token", "accessToken": access}}
    )


@endpoint("POST /api/repos/create")
def create_repository(hub: HubServer, call: Call) -> Answer:
    form, user = call.form(), hub.user(call)
    name = f"{form.get('organization') or user}/{form['name']}"
    hub.authorize(call, name.partition("/")[0])
    if form.get("type") != "dataset" or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        raise Refusal(400, f"only data sets are kept here, not a {form.get('type')} {name}")
    private = form.get("visibility") == "private" or bool(form.get("private"))
    url = f"{hub.endpoint}/datasets/{name}"
    with hub.writing:
        if hub.repository(name).exists():
            return as_json({"error": "You already created this dataset repo", "url": url}, 409)
        hub.repository(name).create(private)
    return as_json({"url": url, "name": name, "private": private})


@endpoint("POST /api/validate-yaml")
def validate_yaml(hub: HubServer, call: Call) -> Answer:
    content = call.form()["content"]
    if errors := card_errors(content):
        found = {"errors": [{"message": error} for error in errors], "warnings": []}
        return as_json(found, 400)
    empty = front_matter(content) is None
    warnings = [{"message": "empty or missing yaml metadata in repo card"}] if empty else []
    return as_json({"errors": [], "warnings": warnings})


@endpoint("POST /api/datasets/NAME/preupload/REVISION")
def preupload(hub: HubServer, call: Call) -> Answer:
    """How each file is to be sent, and what is there under its name already."""
    there = hub.writable(call).files(call.part["revision"])
    answer = []
    for file in call.form()["files"]:
        path, binary = file["path"], b"\0" in base64.b64decode(file["sample"])
        large = binary or path.endswith(".parquet") or file["size"] > REGULAR_BYTES
        answer.append(
            {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            | ({"oid": there[path].etag} if path in there else {})
        )
    return as_json({"files": answer})


@endpoint("POST /datasets/NAME.git/info/lfs/objects/batch")
def lfs_batch(hub: HubServer, call: Call) -> Answer:
    """Where to put each object; no actions for one that is stored already."""
    repository = hub.writable(call)
    stored, objects = repository.stored(), call.form()["objects"]
    for item in objects:
        if item["oid"] not in stored:
            verify = f"{hub.endpoint}/api/datasets/{repository.name}/verify"
            put = hub.href("PUT", repository.name, item["oid"])
            item["actions"] = {"upload": {"href": put}, "verify": {"href": verify}}
    return as_json({"transfer": "basic", "objects": objects})


@endpoint("(PUT|GET) /storage/NAME/(?P<sha256>[0-9a-f]{64})")
def storage(hub: HubServer, call: Call) -> Answer:
    """A large file, for whoever has its signed address; no token is asked for."""
    name, sha256 = call.part["name"], call.part["sha256"]
    signature = hub.signature(call.method, f"/storage/{name}/{sha256}")
    if not hmac.compare_digest(signature, call.query.get("signature", "")):
        raise Refusal(403, "the signature does not match")
    repository = hub.repository(name)
    if call.method == "GET":
        return in_range(call, repository.object(sha256).read_bytes(), {"ETag": f'"{sha256}"'})
    if hashlib.sha256(call.body).hexdigest() != sha256:
        raise Refusal(400, "the content is not what its SHA-256 says")
    repository.store(sha256, call.body)
    return Answer(headers={"ETag": f'"{sha256}"'})


@endpoint("POST /api/datasets/NAME/verify")
def verify(hub: HubServer, call: Call) -> Answer:
    form = call.form()
    if hub.writable(call).stored().get(form["oid"]) != form["size"]:
        raise Refusal(404, f"no object {form['oid']} of {form['size']} bytes is stored")
    return as_json({"success": True})


@endpoint("POST /api/datasets/NAME/commit/REVISION")
def commit(hub: HubServer, call: Call) -> Answer:
    repository = hub.writable(call)
    operations = [json.loads(line) for line in call.body.splitlines()]
    header = operations[0]["value"]
    if call.part["revision"] != "main" or "create_pr" in call.query:
        raise Refusal(400, "commits go to main here")
    with hub.writing:
        if header.get("parentCommit") not in (None, repository.head):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        files = repository.files()
        for operation in operations[1:]:
            apply_operation(repository, files, operation["key"], operation["value"])
        commit_id = repository.commit(files, header["summary"])
    url = f"{hub.endpoint}/datasets/{repository.name}/commit/{commit_id}"
    return as_json({"success": True, "commitOid": commit_id, "commitUrl": url, "hookOutput": ""})


def apply_operation(
    repository: Repository, files: dict[str, File], key: str, value: dict[str, Any]
) -> None:
    """Carry out one line of a commit on its list of files."""
    path = value["path"]
    if key == "file":
        content = base64.b64decode(value["content"])
        errors = card_errors(content.decode()) if path == "README.md" else []
        if errors:
            raise Refusal(400, "; ".join(errors))
        files[path] = File.regular(content)
        repository.store(files[path].etag, content)
    elif key == "lfsFile":
        if value["oid"] not in repository.stored():
            raise Refusal(400, f"the content of {path} was not uploaded")
        files[path] = File.large(value["oid"], repository.stored()[value["oid"]])
    elif key in ("deletedFile", "deletedFolder"):
        folder = path.rstrip("/") + "/" if key == "deletedFolder" else None
        gone = [name for name in files if name == path or (folder and name.startswith(folder))]
        if not gone:
            raise Refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        for name in gone:
            del files[name]
    else:
        raise Refusal(400, f"unknown operation {key}")


@endpoint("GET /api/datasets/NAME(/revision/REVISION)?")
def info(hub: HubServer, call: Call) -> Answer:
    repository = hub.readable(call)
    commits = repository.commits(call.part.get("revision", "main"))
    files = repository.files(commits[0]["id"])
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in files]
    if call.query.get("blobs", "").lower() in ("1", "true"):
        siblings = [
            {"rfilename": path, "size": file.size, "blobId": file.oid, **file.lfs("sha256")}
            for path, file in files.items()
        ]
    card = repository.read("README.md", commits[0]["id"]) if "README.md" in files else b""
    return as_json(
        {"_id": repository.name, "id": repository.name, "author": repository.owner}
        | {"sha": commits[0]["id"], "private": repository.private, "gated": False}
        | {"disabled": False, "downloads": 0, "likes": 0, "tags": [], "siblings": siblings}
        | {"createdAt": commits[-1]["date"], "lastModified": commits[0]["date"]}
        | {"cardData": front_matter(card.decode())}
    )


@endpoint("GET /api/datasets/NAME/tree/REVISION(/PATH)?")
def tree(hub: HubServer, call: Call) -> Answer:
    """A folder's files and folders, or all below it with ``recursive``, page by page."""
    repository, folder = hub.readable(call), call.part.get("path", "").strip("/")
    commits = repository.commits(call.part["revision"])
    entries = listing(repository.files(commits[0]["id"]))
    inside = folder + "/" if folder else ""
    paths = [path for path in entries if path.startswith(inside)]
    if folder and not paths:
        raise Refusal(404, f"{folder} does not exist on {commits[0]['id']}", "EntryNotFound")
    if call.query.get("recursive", "").lower() not in ("1", "true"):
        paths = [path for path in paths if "/" not in path[len(inside) :]]
    expand = call.query.get("expand", "").lower() in ("1", "true")
    first = int(call.query.get("cursor", 0))
    last = first + (min(50, hub.page_size) if expand else hub.page_size)
    page = [entries[path] for path in paths[first:last]]
    if expand:
        page = [entry | last_change(repository, commits, entry["path"]) for entry in page]
    headers = {"X-Repo-Commit": commits[0]["id"]}
    if last < len(paths):
        address = f"{hub.endpoint}/api/datasets/{repository.name}/tree/{commits[0]['id']}"
        address += "/" + quote(folder) if folder else ""
        query = urlencode(call.query | {"cursor": str(last)})
        headers["Link"] = f'<{address}?{query}>; rel="next"'
    return as_json(page, headers=headers)


@endpoint("POST /api/datasets/NAME/paths-info/REVISION")
def paths_info(hub: HubServer, call: Call) -> Answer:
    """The files and folders that exist among some paths."""
    repository, form = hub.readable(call), call.form()
    commits = repository.commits(call.part["revision"])
    entries = listing(repository.files(commits[0]["id"]))
    found = [entries[path] for path in form["paths"] if path in entries]
    if str(form.get("expand")).lower().strip("[']") == "true":
        found = [entry | last_change(repository, commits, entry["path"]) for entry in found]
    return as_json(found)


def listing(files: Mapping[str, File]) -> dict[str, dict[str, Any]]:
    """The entries of files and of the folders that they are in, by path, in order."""
    entries: dict[str, dict[str, Any]] = {}
    for path, file in files.items():
        for folder in (str(parent) for parent in Path(path).parents if parent.name):
            oid = hashlib.sha1(folder.encode()).hexdigest()
            entries[folder] = {"type": "directory", "oid": oid, "size": 0, "path": folder}
        size = {"oid": file.oid, "size": file.size}
        entries[path] = {"type": "file", **size, "path": path, **file.lfs("oid")}
    return dict(sorted(entries.items()))


def last_change(repository: Repository, commits: list[dict[str, Any]], path: str) -> dict[str, Any]:
    """The commit in which a file, or anything in a folder, became what it is now."""

    def content(commit: dict[str, Any]) -> list[Any]:
        files = commit["files"].items()
        return [file for file in files if file[0] == path or file[0].startswith(path + "/")]

    changed = commits[0]
    for commit in commits[1:]:
        if content(commit) != content(commits[0]):
            break
        changed = commit
    return {"lastCommit": {key: changed[key] for key in ("id", "title", "date")}}


@endpoint("(HEAD|GET) /datasets/NAME/resolve/REVISION/PATH")
def resolve(hub: HubServer, call: Call) -> Answer:
    """A regular file, or the way to a large one."""
    repository, path = hub.readable(call), call.part["path"]
    commit_id = repository.commits(call.part["revision"])[0]["id"]
    file = repository.files(commit_id).get(path)
    if file is None:
        refusal = Refusal(404, f"Entry not found: {path}", "EntryNotFound")
        refusal.answer.headers["X-Repo-Commit"] = commit_id
        raise refusal
    headers = {"X-Repo-Commit": commit_id, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
    if not file.sha256:
        return in_range(call, repository.read(path, commit_id), headers)
    headers["Location"] = hub.href("GET", repository.name, file.sha256)
    linked = {"X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    return Answer(302, headers=headers | linked)


def in_range(call: Call, content: bytes, headers: Mapping[str, str]) -> Answer:
    """All of a file, or the one range of it that is asked for."""
    headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", call.headers.get("Range", ""))
    if match is None or match[0] == "bytes=-":
        return Answer(200, content, headers)
    first = int(match[1]) if match[1] else max(0, len(content) - int(match[2]))
    last = min(int(match[2]) if match[1] and match[2] else len(content), len(content) - 1)
    if first > last:
        headers["Content-Range"] = f"bytes */{len(content)}"
        return Answer(416, b"", headers)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Answer(206, content[first : last + 1], headers)
