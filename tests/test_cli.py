"""The command line, as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from builders import NAME, __version__
from builders.corpus.registry import find_corpus
from tests.conftest import REPOSITORY
from tests.releases import as_published
from tests.servers.zenodo import Fault, ZenodoServer


def builders(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "builders", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_help_names_the_commands() -> None:
    done = builders("--help")
    assert done.returncode == 0
    for command in ("synthesize", "info", "card"):
        assert command in done.stdout


def test_synthesize_writes_a_release_that_info_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "nat4"
    assert builders("synthesize", "nat4", folder, "--scale", "mini", "--seed", 3).returncode == 0
    monkeypatch.setenv("NAT4_DATA", str(folder))
    done = builders("info", "nat4")
    assert done.returncode == 0
    assert "A1 cells: 40\n" in done.stdout
    assert "A1 cells found by site, electrode and unit number: 3\n" in done.stdout


def test_info_counts_the_cells_of_each_area(home: Path) -> None:
    done = builders("info", "wingert2026")
    assert done.returncode == 0
    for line in ("cells: 655", "cells in A1: 281", "sites: 10", "archives: "):
        assert line in done.stdout


def test_card_prints_the_card_in_the_folder(home: Path, corpus: str) -> None:
    card = (REPOSITORY / corpus / "README.md").read_text(encoding="utf-8")
    assert builders("card", corpus).stdout == card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "wingert2025"], "did you mean wingert2026?"),
        (["synthesize", "nat4", "tests"], "it is not an empty folder"),
        (["info", "nat4"], "BUILDERS_OFFLINE is set"),
    ],
)
def test_what_a_user_does_wrong_is_a_message_and_no_traceback(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NAT4_DATA", raising=False)
    monkeypatch.setenv("BUILDERS_OFFLINE", "1")
    done = builders(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_version() -> None:
    assert builders("--version").stdout == f"{NAME} {__version__}\n"


def test_help_shows_the_defaults() -> None:
    said = " ".join(builders("plot", "--help").stdout.replace("│", " ").split())
    assert "[default: (CORPUS-FIGURE.png)]" in said
    assert "[default: (all that the figure needs)]" in said
    assert "[default: mini]" in builders("synthesize", "--help").stdout


def test_the_shell_completes_names_of_corpora_and_configs() -> None:
    def completed(typed: str) -> list[str]:
        done = subprocess.run(
            [Path(sys.executable).parent / "builders"],
            env={**os.environ, "_BUILDERS_COMPLETE": "complete_bash", "COMP_WORDS": typed,
                 "COMP_CWORD": str(len(typed.split()))},
            cwd=REPOSITORY, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout.split()

    assert "wingert2026" in completed("builders info")
    assert "CLT027c" in completed("builders export wingert2026")
    assert "nat4" not in completed("builders export wingert2026")
    assert completed("builders export no_such_corpus") == []


def test_configs_and_the_rows_of_those_that_are_built(own_home: Path) -> None:
    def rows() -> dict[str, dict[str, int | None]]:
        found = json.loads(builders("configs", "wingert2026", "--json").stdout)
        return {each["config"]: each["rows"] for each in found}

    assert set(rows()["CLT027c"].values()) == {None}
    load_dataset("./wingert2026", "CLT027c")
    assert rows()["CLT027c"] == {"est": 180, "val": 40}
    assert set(rows()["A1"].values()) == {None}
    lines = builders("configs", "wingert2026").stdout.splitlines()
    assert "CLT027c: est 180 rows, val 40 rows" in lines
    assert "A1: est, val" in lines
    assert "A1+PEG: est, val (default)" in lines
    load_dataset("./wingert2026", "goodpred")
    assert set(rows()["goodpred"].values()) == {None}  # a filter keeps some of the rows
    cohort = load_dataset("./wingert2026", "A1+PEG")
    assert rows()["A1+PEG"] == {split: len(of_split) for split, of_split in cohort.items()}


def test_configs_without_a_release(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAT4_DATA")
    done = builders("configs", "nat4")
    assert "A1: est, val" in done.stdout
    assert done.stderr == ""


def test_what_programs_are_told(own_home: Path) -> None:
    def told(*arguments: str) -> Any:
        return json.loads(builders(*arguments, "--json").stdout)

    load_dataset("./wingert2026", "CLT027c")
    state = told("status")
    release = os.environ["WINGERT2026_DATA"]
    assert state["wingert2026"]["release"]["folder"] == release
    assert state["skipped"] == []
    size = state["wingert2026"]["caches"]["shards"]["bytes"]
    assert f"shards: {own_home}" in builders("status").stdout
    assert told("fetch", "wingert2026")["to_fetch"] == {}
    cleaned = told("clean", "wingert2026")
    assert (cleaned["removed"], cleaned["shards"]["bytes"]) == (False, size)
    assert told("clean", "wingert2026", "--yes")["removed"] is True
    assert told("clean", "wingert2026") == {"removed": False}


def test_quiet(own_home: Path, tmp_path: Path) -> None:
    def said(*options: str) -> tuple[str, str]:
        assert builders("clean", "wingert2026", "--yes").returncode == 0
        figure = ["plot", "wingert2026", "record", "--config", "CLT050c"]
        export = ["export", "nat4", "A1", "--out", tmp_path / "out"]
        drawn = builders(*options, *figure, "--out", tmp_path / "a.png")
        return builders(*options, *export).stderr, drawn.stderr

    exporting, notes = said()
    assert "Exporting" in exporting
    assert "CorpusWarning" in notes
    assert said("-q") == ("", "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CLT27c", "did you mean CLT027c"),
        ("CLT029c", "the card lists it, but this release does not have it"),
    ],
)
def test_a_wrong_site(home: Path, tmp_path: Path, name: str, message: str) -> None:
    done = builders("export", "wingert2026", name, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert message in done.stderr


def test_a_reader_that_has_read_enough_is_no_error(home: Path) -> None:
    command = [sys.executable, "-m", "builders", "card", "wingert2026"]
    child = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout
    assert child.stderr
    child.stdout.close()
    assert (child.stderr.read(), child.wait()) == ("", 0)


def test_a_connection_that_breaks_is_an_error(home: Path) -> None:
    """Even though a pipe that nobody reads any more raises the same."""
    code = """
    import sys
    from builders.cli import data, main
    def broken(*_): raise BrokenPipeError(32, "Broken pipe")
    data.find_corpus = broken
    sys.argv = ["builders", "fetch", "nat4"]
    main()"""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "error: a connection was closed\n")


def interrupted(*arguments: object, when: Callable[[], bool]) -> tuple[str, int]:
    """What a command says that gets a Ctrl-C, as a terminal sends it, and its exit code."""
    child = subprocess.Popen(
        [sys.executable, "-m", "builders", *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests may ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not when():
        assert child.poll() is None
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGINT)
    _, said = child.communicate(timeout=60)
    return said, child.returncode


def test_an_interrupt_is_one_line(own_home: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "new", tmp_path / "out"
    shards = own_home / "builders" / "shards"
    some = lambda place: lambda: any(place.rglob("*.*"))  # noqa: E731
    for arguments, when in (
        (["synthesize", "wingert2026", folder, "--scale", "full"], some(folder)),
        (["export", "wingert2026", "A1", "--out", out], some(shards)),
        (
            ["export", "wingert2026", "PEG", "--out", out, "--workers", 2],
            some(shards / "wingert2026/data/PEG"),
        ),
    ):
        said, code = interrupted("-q", *arguments, when=when)
        assert said == "interrupted\n", arguments
        assert code == 130


def test_an_interrupted_synthesis_waits_for_no_file(tmp_path: Path) -> None:
    """Each of a full release takes a minute or so; the processes that write them end at once."""
    new = tmp_path / "new"
    written = lambda: sum(path.stat().st_size for path in new.rglob("*.*")) > 1_000_000  # noqa: E731
    said, code = interrupted(
        *("-q", "synthesize", "wingert2026", new, "--scale", "full"), when=written
    )
    assert (said, code) == ("interrupted\n", 130)
    size = sum(path.stat().st_size for path in new.rglob("*.*"))
    time.sleep(1)
    assert size == sum(path.stat().st_size for path in new.rglob("*.*"))
    assert not list(new.rglob("wav.zip"))


def test_an_interrupted_fetch_ends_at_once_and_goes_on_later(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server hangs: nobody waits for what is being transferred."""
    files = as_published(Path(os.environ["ESPEJO2019_DATA"]), own_home)
    vmn = "A1_voc_mod_noise.tgz"
    monkeypatch.delenv("ESPEJO2019_DATA")
    monkeypatch.delenv("BUILDERS_OFFLINE")
    with ZenodoServer(records={find_corpus("espejo2019").record: files}) as server:
        monkeypatch.setenv("ZENODO_ENDPOINT", server.url)
        server.fail(vmn, Fault(stall=100_000))
        begun = lambda: server.sent(vmn) >= 100_000  # noqa: E731
        start = time.monotonic()
        said, code = interrupted("-q", "fetch", "espejo2019", "VMN", "--yes", when=begun)
        assert (said, code) == ("interrupted\n", 130)
        assert time.monotonic() - start < 30
        server.heal()
        assert builders("fetch", "espejo2019", "VMN", "--yes").returncode == 0
    assert (own_home / "builders" / "releases" / "espejo2019" / vmn).exists()
