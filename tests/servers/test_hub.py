"""The Hub on loopback does to the real clients what the Hub does.

They run in child processes, as they read ``HF_ENDPOINT`` and the rest of the environment when they
are imported.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import run_python
from tests.servers.hub import File, HubServer

SITES = ("CLT027c", "CLT028c")
CARD = """\
---
configs:
- config_name: all
  data_files:
  - split: est
    path: data/*/est.parquet
  - split: val
    path: data/*/val.parquet
- config_name: CLT027c
  data_files:
  - split: val
    path: data/CLT027c/val.parquet
---
# Records
"""

UPLOAD = """
api.create_repo({name!r}, repo_type="dataset", private=True, exist_ok=True)
commit = api.upload_folder(folder_path={folder!r}, repo_id={name!r}, repo_type="dataset",
                           delete_patterns=["data/**", "*.md"])
emit(commit.oid)
"""

HUB = """
import json
from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
api = HfApi()
def emit(found):
    print("FOUND", json.dumps(found))
"""


def client(server: HubServer, home: Path, code: str, token: str = "hf_owner") -> Any:
    """What a script emits that has an `HfApi`, the Hub for its endpoint and a token."""
    environment = {**server.environment(home, token), "USE_TORCH": "0"}  # quicker to import
    printed = run_python(HUB + code, **environment)
    return json.loads(printed.rpartition("FOUND ")[2])


def push(server: HubServer, home: Path, folder: Path, name: str = "me/records") -> str:
    """Upload a folder to a private repository; the commit."""
    return str(client(server, home, UPLOAD.format(folder=str(folder), name=name)))


def rows(site: str, subset: str) -> list[dict[str, Any]]:
    """The planted records of a shard; each shard has others."""
    response = [[float(len(subset)), float(SITES.index(site))], [0.0, 1.0]]
    return [{"stim": f"{subset}{number}", "site": site, "response": response} for number in (1, 2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as export writes it: a card with configs, and shards."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "README.md").write_text(CARD)
    for site in SITES:
        (folder / "data" / site).mkdir(parents=True)
        for subset in ("est", "val"):
            table = pa.Table.from_pylist(rows(site, subset))
            pq.write_table(table, folder / "data" / site / f"{subset}.parquet")
    return folder


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with HubServer(tmp_path_factory.mktemp("hub")) as server:
        yield server


@pytest.fixture
def server(running: HubServer) -> HubServer:
    """The running server, with an empty log and no faults."""
    running.clear()
    return running


@pytest.fixture(scope="module")
def uploaded(
    running: HubServer, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[str, str, str, bool]]:
    """The folder is in the private ``me/records``; method, path, host, authorized of requests."""
    running.clear()
    push(running, tmp_path_factory.mktemp("home"), folder)
    return [(seen.method, seen.path, seen.host, seen.authorized) for seen in running.log]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def on_hub(server: HubServer, name: str, revision: str = "main") -> dict[str, bytes]:
    """What a repository holds, but for the file that the Hub itself puts there."""
    repository = server.repository(name)
    files = {path: repository.read(path, revision) for path in repository.files(revision)}
    del files[".gitattributes"]
    return files


def sizes(server: HubServer, method: str) -> list[int]:
    """Bytes of the objects that were put to, or got from, the storage."""
    requests = [seen for seen in server.log if seen.path.startswith("/storage/")]
    return sorted(seen.sent + seen.received for seen in requests if seen.method == method)


def test_a_folder_is_there_after_its_upload(
    uploaded: list[Any], server: HubServer, folder: Path
) -> None:
    repository = server.repository("me/records")
    assert on_hub(server, "me/records") == contents(folder)
    assert repository.private
    assert [commit["title"] for commit in repository.commits()] == [
        "Upload folder using huggingface_hub",
        "initial commit",
    ]
    for path, content in contents(folder).items():
        file, sha256 = repository.files()[path], hashlib.sha256(content).hexdigest()
        assert file.sha256 == (sha256 if path.endswith(".parquet") else "")
        assert file.size == len(content)


def test_the_token_goes_to_the_hub_and_not_to_the_storage(uploaded: list[Any]) -> None:
    seen = {
        (path.startswith("/storage/"), host.partition(":")[0], authorized)
        for _, path, host, authorized in uploaded
    }
    assert seen == {(True, "localhost", False), (False, "127.0.0.1", True)}


LOAD = """
from datasets import load_dataset
found = []
for streaming in (False, True):
    data = load_dataset("me/records", "all", streaming=streaming)
    found.append({split: list(data[split]) for split in data})
found.append(list(load_dataset("me/records", "CLT027c", split="val")))
emit(found)
"""


def test_the_owner_loads_and_streams_the_rows(
    uploaded: list[Any], server: HubServer, folder: Path, tmp_path: Path
) -> None:
    mapped, streamed, val = client(server, tmp_path, LOAD)
    expected = {
        subset: [row for site in SITES for row in rows(site, subset)] for subset in ("est", "val")
    }
    assert mapped == streamed == expected
    assert val == rows("CLT027c", "val")
    storage = [seen for seen in server.log if seen.path.startswith("/storage/")]
    assert {(seen.host.partition(":")[0], seen.authorized) for seen in storage} == {
        ("localhost", False)
    }
    shards = [content for path, content in contents(folder).items() if "data/" in path]
    whole = [seen.sent for seen in storage if seen.status == 200]
    assert sorted(whole) == sorted(map(len, shards))
    assert server.payload_sent() >= 2 * sum(map(len, shards))


DENIED = """
from datasets import load_dataset
found = []
for what in (
    lambda: load_dataset("me/records", "all"),
    lambda: load_dataset("me/records", "all", streaming=True),
    lambda: api.repo_info("me/records", repo_type="dataset"),
    lambda: api.hf_hub_download("me/records", "README.md", repo_type="dataset"),
    lambda: api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="me/records",
                            repo_type="dataset"),
):
    try:
        what()
    except Exception as error:
        found.append(type(error).__name__)
emit(found)
"""


@pytest.mark.parametrize("token", ["", "hf_stranger"])
def test_others_do_not_see_a_private_repository(
    uploaded: list[Any], server: HubServer, tmp_path: Path, token: str
) -> None:
    head = server.repository("me/records").head
    assert client(server, tmp_path, DENIED, token) == [
        *["DatasetNotFoundError"] * 2,
        *["RepositoryNotFoundError"] * 3,
    ]
    assert server.payload_sent() == 0
    assert {seen.status for seen in server.log} == {401}
    assert {seen.authorized for seen in server.log} == {bool(token)}
    assert server.repository("me/records").head == head


def test_an_unchanged_folder_sends_nothing_and_makes_no_commit(
    uploaded: list[Any], server: HubServer, folder: Path, tmp_path: Path
) -> None:
    head = server.repository("me/records").head
    assert push(server, tmp_path, folder) == head
    assert server.repository("me/records").head == head
    assert server.uploaded() == 0
    assert not any("/commit/" in seen.path for seen in server.log)


def test_a_changed_file_is_all_that_is_sent(
    server: HubServer, folder: Path, tmp_path: Path
) -> None:
    """And a file that is gone is deleted; the commits before stay as they were."""
    changed = tmp_path / "folder"
    shutil.copytree(folder, changed)
    first = push(server, tmp_path, changed, "me/changing")
    server.clear()
    shard = changed / "data" / "CLT028c" / "est.parquet"
    pq.write_table(pa.Table.from_pylist(rows("CLT028c", "est") * 3), shard)
    (changed / "data" / "CLT027c" / "est.parquet").unlink()
    second = push(server, tmp_path, changed, "me/changing")
    assert server.uploaded() == shard.stat().st_size
    assert sizes(server, "PUT") == [shard.stat().st_size]
    assert on_hub(server, "me/changing", second) == contents(changed)
    assert on_hub(server, "me/changing", first) == contents(folder)
    assert [commit["id"] for commit in server.repository("me/changing").commits()][:2] == [
        second,
        first,
    ]


@pytest.fixture
def large_folder(tmp_path: Path) -> Path:
    """Two small files, and more large ones than the client's five threads can begin with them."""
    folder = tmp_path / "large"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number, size in enumerate([1 << 18] * 2 + [8 << 20] * 4):
        (folder / f"{number}.parquet").write_bytes(generator.bytes(size))
    return folder


def test_an_upload_that_is_killed_goes_on_where_it_stopped(
    server: HubServer, large_folder: Path, tmp_path: Path
) -> None:
    files = contents(large_folder)
    server.upload_rate = 1 << 20
    environment = {**os.environ, **server.environment(tmp_path, "hf_owner")}
    code = HUB + UPLOAD.format(folder=str(large_folder), name="me/killed")
    child = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL
    )
    server.wait_for(lambda: server.answered("^PUT") == 2)
    child.send_signal(signal.SIGKILL)
    child.wait()
    begun = sum(seen.method == "PUT" for seen in server.log)
    server.upload_rate = None
    server.clear()
    repository = server.repository("me/killed")
    stored = repository.stored()
    assert 2 <= len(stored) < begun
    assert on_hub(server, "me/killed") == {}

    push(server, tmp_path, large_folder, "me/killed")
    missing = {hashlib.sha256(content).hexdigest() for content in files.values()} - set(stored)
    put = [seen.path.rpartition("/")[2] for seen in server.log if seen.method == "PUT"]
    assert sorted(put) == sorted(missing)
    assert server.uploaded() == sum(map(len, files.values())) - sum(stored.values())
    assert on_hub(server, "me/killed") == files


PUBLIC = """
api.create_repo("me/public", repo_type="dataset", private=True, exist_ok=True)
info = api.repo_info("me/public", repo_type="dataset")
emit([info.private, info.sha, [file.rfilename for file in info.siblings]])
"""

STRANGER = """
found = [api.repo_info("me/public", repo_type="dataset").private]
for name in ("me/public", "me/new", "stranger/new"):
    try:
        api.create_repo(name, repo_type="dataset")
        api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=name, repo_type="dataset")
        found.append([name, True])
    except HfHubHTTPError as error:
        found.append([name, error.response.status_code])
try:
    api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="me/public",
                    repo_type="dataset")
except HfHubHTTPError as error:
    found.append(error.response.status_code)
emit(found)
"""


def test_a_public_repository_stays_public(server: HubServer, tmp_path: Path) -> None:
    server.repository("me/public").create(private=False)
    head = server.repository("me/public").head
    assert client(server, tmp_path, PUBLIC) == [False, head, [".gitattributes"]]
    assert [seen.status for seen in server.log if seen.path == "/api/repos/create"] == [409]
    assert client(server, tmp_path, STRANGER, "hf_stranger") == [
        False,
        ["me/public", 403],
        ["me/new", 403],
        ["stranger/new", True],
        403,
    ]
    assert server.repository("me/public").head == head
    assert on_hub(server, "stranger/new") == {"x": b"x"}
    assert not server.repository("stranger/new").private


def test_clients_survive_faults_of_an_upload(
    server: HubServer, folder: Path, tmp_path: Path
) -> None:
    """One 503 each, and a PUT whose connection is cut in the middle."""
    server.fail("preupload", times=1, retry_after=0)
    server.fail("objects/batch", times=1, status=502, retry_after=0)
    server.fail("^PUT", times=1, cut_after=100)
    server.fail("/verify", times=1)
    push(server, tmp_path, folder, "me/faults")
    assert on_hub(server, "me/faults") == contents(folder)
    shards = [len(content) for path, content in contents(folder).items() if "data/" in path]
    assert sizes(server, "PUT") == sorted([100, *shards])
    assert server.uploaded() == 100 + sum(shards)
    assert sorted(seen.status for seen in server.log if seen.status > 499) == [502, 503, 503]
    assert [seen.status for seen in server.log].count(0) == 1


def test_a_commit_whose_answer_is_lost_needs_no_second_upload(
    server: HubServer, folder: Path, tmp_path: Path
) -> None:
    """Cut in its body it does not happen; cut after, it does, and the client cannot know."""
    upload = textwrap.indent(UPLOAD.format(folder=str(folder), name="me/lost"), "    ")
    code = f"try:{upload}except Exception as error:\n    emit(type(error).__name__)"
    for cut_after, commits in ((10, 1), (1 << 30, 2)):
        server.fail("/commit/", times=1, cut_after=cut_after)
        assert client(server, tmp_path, code) == "RemoteProtocolError"
        assert len(server.repository("me/lost").commits()) == commits
    server.clear()
    assert push(server, tmp_path, folder, "me/lost") == server.repository("me/lost").head
    assert server.uploaded() == 0
    assert len(server.repository("me/lost").commits()) == 2


FAULTS = """
import datasets
found = []
for streaming in (False, True):
    data = datasets.load_dataset("me/records", "CLT027c", split="val", streaming=streaming)
    found.append(list(data))
emit(found)
"""


def test_clients_survive_faults_of_a_download(
    uploaded: list[Any], server: HubServer, folder: Path, tmp_path: Path
) -> None:
    server.fail("^HEAD .*README", times=1)
    server.fail("/tree/", times=1, retry_after=0)
    server.fail("^GET /storage/", times=1, cut_after=100)
    server.fail("^GET .*val.parquet", times=1, retry_after=0)
    expected = rows("CLT027c", "val")
    assert client(server, tmp_path, FAULTS) == [expected, expected]
    statuses = [seen.status for seen in server.log]
    assert statuses.count(503) == 3
    size = (folder / "data" / "CLT027c" / "val.parquet").stat().st_size
    assert [seen.sent for seen in server.log if seen.path.startswith("/storage/")][:2] == [
        100,
        size,
    ]


LOOK = """
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError
name, kind = "me/records", {"repo_type": "dataset"}
def tree(**options):
    found = api.list_repo_tree(name, **options, **kind)
    return [[file.path, getattr(file, "lfs", None) and file.lfs.sha256,
             file.last_commit and file.last_commit.title] for file in found]
info = api.repo_info(name, files_metadata=True, **kind)
paths = api.get_paths_info(name, ["data", "README.md", "nothing"], **kind)
errors = []
for code, options in ((EntryNotFoundError, {"filename": "nothing"}),
                      (RevisionNotFoundError, {"filename": "README.md", "revision": "v2"})):
    try:
        hf_hub_download(name, **options, **kind)
    except code as error:
        errors.append(code.__name__)
with HfFileSystem().open("datasets/me/records/data/CLT027c/val.parquet", block_size=64) as file:
    file.seek(16)
    middle = list(file.read(32))
emit({
    "user": api.whoami()["name"], "private": info.private, "configs": len(info.card_data.configs),
    "siblings": [[file.rfilename, file.size, file.lfs and file.lfs.sha256]
                 for file in info.siblings],
    "top": tree(), "all": tree(recursive=True, expand=True),
    "inside": tree(path_in_repo="data/CLT027c"),
    "paths": [path.path for path in paths], "errors": errors, "middle": middle,
})
"""


@pytest.fixture(scope="module")
def look(
    uploaded: list[Any], running: HubServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What a client finds on another server of the same folder, which lists two files a page."""
    with HubServer(running.folder) as second:
        second.page_size = 2
        found: dict[str, Any] = client(second, tmp_path_factory.mktemp("home"), LOOK)
        found["pages"] = sum("/tree/" in seen.path for seen in second.log)
        found["sent"] = sum(sizes(second, "GET"))
    return found


def test_a_repository_survives_the_server(look: dict[str, Any], folder: Path) -> None:
    assert (look["user"], look["private"], look["configs"]) == ("me", True, 2)
    siblings = {path: (size, sha256) for path, size, sha256 in look["siblings"]}
    assert siblings.pop(".gitattributes")[1] is None
    assert siblings == {
        path: (
            len(content),
            hashlib.sha256(content).hexdigest() if path.endswith(".parquet") else None,
        )
        for path, content in contents(folder).items()
    }


def test_listings_are_complete_over_all_their_pages(look: dict[str, Any], folder: Path) -> None:
    files = contents(folder)
    hashes = {
        path: hashlib.sha256(content).hexdigest() if path.endswith(".parquet") else None
        for path, content in files.items()
    }
    folders = dict.fromkeys(["data", *(f"data/{site}" for site in SITES)])
    titles = dict.fromkeys([*hashes, *folders], "Upload folder using huggingface_hub")
    everything = {**hashes, **folders, ".gitattributes": None}
    titles[".gitattributes"] = "initial commit"
    assert look["all"] == [[path, everything[path], titles[path]] for path in sorted(everything)]
    assert look["top"] == [[path, None, None] for path in (".gitattributes", "README.md", "data")]
    assert look["inside"] == [
        [path, hashes[path], None] for path in sorted(files) if path.startswith("data/CLT027c/")
    ]
    assert look["paths"] == ["data", "README.md"]
    assert look["pages"] >= 2 + 5 + 1


def test_what_is_missing_is_told_apart(look: dict[str, Any]) -> None:
    assert look["errors"] == ["EntryNotFoundError", "RevisionNotFoundError"]


def test_a_range_is_all_that_is_sent_of_a_file(look: dict[str, Any], folder: Path) -> None:
    content = (folder / "data" / "CLT027c" / "val.parquet").read_bytes()
    assert bytes(look["middle"]) == content[16:48]
    assert 32 <= look["sent"] < len(content) / 2


REFUSED = """
import pathlib
found = []
for folder in sorted(pathlib.Path({cards!r}).iterdir()):
    try:
        api.upload_folder(folder_path=folder, repo_id="me/records", repo_type="dataset")
    except ValueError as error:
        found.append(str(error))
try:
    api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="me/records",
                    repo_type="dataset", parent_commit="0" * 40)
except HfHubHTTPError as error:
    found.append(error.response.status_code)
try:
    api.delete_file("nothing", "me/records", repo_type="dataset")
except HfHubHTTPError as error:
    found.append(type(error).__name__)
emit(found)
"""


def test_bad_cards_and_bad_commits_are_refused(
    uploaded: list[Any], server: HubServer, tmp_path: Path
) -> None:
    cards = {
        "broken": CARD.replace("config_name: all", "config_name: 'all"),
        "nameless": CARD.replace("config_name: CLT027c", "name: CLT027c"),
        "split": CARD.replace("split: est", "split: est-1"),
    }
    for name, card in cards.items():
        (tmp_path / "cards" / name).mkdir(parents=True)
        (tmp_path / "cards" / name / "README.md").write_text(card)
        (tmp_path / "cards" / name / "new.parquet").write_bytes(b"new")
    head = server.repository("me/records").head
    found = client(server, tmp_path / "home", REFUSED.format(cards=str(tmp_path / "cards")))
    assert len(found) == 5
    assert "Invalid metadata in README.md" in found[0]
    assert "YAML" in found[0]
    assert '"configs[1].config_name" is required' in found[1]
    assert "'est-1' is no name of a split" in found[2]
    assert found[3:] == [412, "RemoteEntryNotFoundError"]
    assert server.repository("me/records").head == head
    assert server.uploaded() == 0


def ask(
    server: HubServer, method: str, address: str, body: bytes = b"", token: str = ""
) -> http.client.HTTPResponse:
    """The answer to a single request."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(server.endpoint).port, timeout=10)
    connection.request(method, address, body, {"Authorization": f"Bearer {token}"} if token else {})
    return connection.getresponse()


def test_the_storage_takes_only_what_was_announced(tmp_path: Path) -> None:
    """A signed address, the content of its SHA-256; what arrives in part is not kept."""
    content = bytes(200_000)
    sha256 = hashlib.sha256(content).hexdigest()
    with HubServer(tmp_path) as server:
        server.repository("me/x").create(private=True)
        put = server.href("PUT", "me/x", sha256).removeprefix(server.storage)
        get = server.href("GET", "me/x", sha256).removeprefix(server.storage)
        assert ask(server, "PUT", get, content).status == 403
        assert ask(server, "PUT", put.partition("?")[0], content).status == 403
        assert ask(server, "PUT", put, b"other").status == 400
        assert server.repository("me/x").stored() == {}
        assert ask(server, "PUT", put, content).status == 200
        assert ask(server, "GET", get).read() == content
        assert server.uploaded() == 3 * len(content) + len(b"other")
        assert server.payload_sent() == len(content)


def test_a_commit_that_changes_nothing_keeps_the_head(tmp_path: Path) -> None:
    lines = [
        {"key": "header", "value": {"summary": "again", "description": ""}},
        {"key": "file", "value": {"path": "x", "content": "eA==", "encoding": "base64"}},
    ]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    with HubServer(tmp_path) as server:
        repository = server.repository("me/x")
        repository.create(private=True)
        commit = ("POST", "/api/datasets/me/x/commit/main", body, "hf_owner")
        heads = [json.load(ask(server, *commit))["commitOid"] for _ in range(2)]
        assert heads == [repository.head] * 2
        assert len(repository.commits()) == 2
        assert repository.read("x") == b"x"


def test_clients_that_go_away_leave_no_trace(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the middle of a request, of an answer, or idle; and the server stops at once."""
    with HubServer(tmp_path) as server:
        repository, content = server.repository("me/x"), bytes(32 << 20)
        repository.create(private=False)
        file = File.large(hashlib.sha256(content).hexdigest(), len(content))
        repository.store(file.etag, content)
        put = server.href("PUT", "me/x", file.sha256).removeprefix(server.storage)
        get = server.href("GET", "me/x", file.sha256).removeprefix(server.storage)
        port = urlsplit(server.endpoint).port
        for request in (
            f"PUT {put} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc",
            f"GET {get} HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /api/whoami-v2 HTTP",
            "",
        ):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                reset = struct.pack("ii", 1, 0)  # closing tells the server so at once
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                connection.sendall(request.encode())
                connection.settimeout(1)
                if request.startswith("GET /storage"):
                    assert connection.recv(100)
        server.wait_for(lambda: len(server.log) == 2)
        server.wait_idle()
        # Each in a thread of its own: which is noted first is a matter of luck.
        assert sorted((seen.method, seen.status, seen.received) for seen in server.log) == [
            ("GET", 200, 0),
            ("PUT", 0, 3),
        ]
        assert 0 < server.payload_sent() < len(content)
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        idle.request("GET", "/api/whoami-v2")
        assert idle.getresponse().read()
        assert idle.sock is not None
        stopped = time.monotonic()
    assert time.monotonic() - stopped < 1
    assert idle.sock.recv(1) == b""
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_server_itself_fails_the_test(tmp_path: Path) -> None:
    def recording_error(server: HubServer) -> None:
        with server:
            assert ask(server, "POST", "/api/validate-yaml", b"no JSON").status == 500

    with pytest.raises(json.JSONDecodeError):
        recording_error(HubServer(tmp_path))


def test_faults_end_after_their_times(tmp_path: Path) -> None:
    with HubServer(tmp_path) as server:
        server.fail("^GET /api/whoami", status=429, times=2, retry_after=7)
        answers = [ask(server, "GET", "/api/whoami-v2") for _ in range(3)]
        assert [answer.status for answer in answers] == [429, 429, 401]
        assert [answer.headers.get("Retry-After") for answer in answers] == ["7", "7", None]
        with pytest.raises(TimeoutError, match="whoami"):
            server.wait_for(lambda: server.answered("whoami") > 0, seconds=0.01)
        server.fail("whoami")
        server.clear()
        assert server.log == []
        assert ask(server, "GET", "/api/whoami-v2").status == 401
