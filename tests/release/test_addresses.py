"""Releases at addresses of their own: fetched, resumed and checked as those on Zenodo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from hashlib import md5, sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from datasets import load_dataset

from builders.errors import CorpusError
from builders.release import http
from builders.release.fetched import FetchedRelease
from espejo2019 import Espejo2019
from tests.servers.zenodo import Fault, ZenodoServer

VMN, NAT = "A1_voc_mod_noise.tgz", "A1_natural_sounds.tgz"


class Quiet(SimpleHTTPRequestHandler):
    """A server of files, without ranges, which remembers what it was told."""

    seen: list[tuple[str, str]] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Authorization", "")))
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def plain(
    releases: Callable[[str], Path], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The address of a plain web server that has the mini release; it is the corpus' source."""
    folder = releases("espejo2019")
    monkeypatch.delenv("ESPEJO2019_DATA")
    monkeypatch.delenv("BUILDERS_OFFLINE", raising=False)
    monkeypatch.setattr(http, "BACKOFF", 0.01)
    monkeypatch.setattr(Quiet, "seen", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    state(monkeypatch, folder, {name: f"{address}/{name}" for name in (VMN, NAT)})
    yield address
    server.shutdown()
    server.server_close()


def state(monkeypatch: pytest.MonkeyPatch, folder: Path, urls: dict[str, str]) -> None:
    """The corpus is at these addresses: one file with a sha256, the other with an md5."""
    vmn, nat = ((folder / name).read_bytes() for name in (VMN, NAT))
    sums = {VMN: f"sha256:{sha256(vmn).hexdigest()}", NAT: md5(nat).hexdigest()}
    monkeypatch.setattr(Espejo2019, "record", None)
    monkeypatch.setattr(Espejo2019, "urls", urls)
    monkeypatch.setattr(Espejo2019, "published", sums)


def release() -> FetchedRelease:
    found = Espejo2019.release()
    assert isinstance(found, FetchedRelease)
    return found


def test_a_config_fetches_its_file_and_its_checksum_is_verified(plain: str) -> None:
    assert len(load_dataset("./espejo2019", "VMN", split="val")) > 0
    fetched = [path for path, _ in Quiet.seen]
    assert fetched.count(f"/{VMN}") == 2  # its size, and itself
    assert fetched.count(f"/{NAT}") == 1
    assert list(release().damaged()) == []
    (release().folder / VMN).write_bytes(b"spoilt")
    assert list(release().damaged()) == [release().folder / VMN]


def test_a_file_with_another_checksum_is_thrown_away(
    plain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {**Espejo2019.published, VMN: f"sha256:{'0' * 64}"}
    monkeypatch.setattr(Espejo2019, "published", wrong)
    with pytest.raises(CorpusError, match="arrived damaged, and was thrown away") as caught:
        release().file(VMN)
    assert f"expected sha256 {'0' * 64}" in str(caught.value)
    assert "Zenodo" not in str(caught.value)
    assert not (release().folder / VMN).exists()


@pytest.mark.parametrize("checksum", ["", "0" * 31, "sha256:0", "crc:00"])
def test_a_file_without_a_checksum_is_not_fetched(
    plain: str, monkeypatch: pytest.MonkeyPatch, checksum: str
) -> None:
    monkeypatch.setattr(Espejo2019, "published", {**Espejo2019.published, VMN: checksum})
    with pytest.raises(CorpusError, match="the corpus states no checksum of it"):
        release()
    monkeypatch.setattr(Espejo2019, "urls", {NAT: plain})
    with pytest.raises(CorpusError, match="the corpus states no"):
        release()
    assert Quiet.seen == []


def test_the_token_for_zenodo_goes_nowhere_else(
    plain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZENODO_TOKEN", "secret")
    release().file(VMN)
    assert {given for _, given in Quiet.seen} == {""}


def test_what_is_not_there_is_said_without_zenodo(
    plain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = {VMN: f"{plain}/gone.tgz", NAT: f"{plain}/{NAT}"}
    monkeypatch.setattr(Espejo2019, "urls", urls)
    with pytest.raises(CorpusError) as caught:
        release().file(VMN)
    assert "the server answers 404" in str(caught.value)
    assert f"cannot fetch the size of {VMN} of the release of espejo2019" in str(caught.value)
    assert "Zenodo" not in str(caught.value)


def test_a_download_that_is_cut_goes_on(
    releases: Callable[[str], Path], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = releases("espejo2019")
    monkeypatch.delenv("ESPEJO2019_DATA")
    monkeypatch.delenv("BUILDERS_OFFLINE", raising=False)
    monkeypatch.setattr(http, "BACKOFF", 0.01)
    with ZenodoServer(records={1: {name: folder / name for name in (VMN, NAT)}}) as server:
        urls = {name: f"{server.url}/records/1/files/{name}?download=1" for name in (VMN, NAT)}
        state(monkeypatch, folder, urls)
        size = (folder / VMN).stat().st_size
        server.fail(VMN, Fault())
        server.fail(VMN, Fault(cut=size // 2))
        assert release().file(VMN).read_bytes() == (folder / VMN).read_bytes()
        assert server.sent(VMN) <= size + size // 10
