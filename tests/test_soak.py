"""Thirty rounds of what a user does in a day, in one process: nothing may pile up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import run_python
from tests.servers.hub import HubServer

ROUNDS = 30
#: What the memory of a process without a leak may differ by between two rounds, in MB.
NOISE_MB = 25

SOAK = """
import gc, json, os, shutil, sys, threading
from pathlib import Path

from datasets import load_dataset

from builders.repository import findings
from builders.corpus.registry import find_corpus
from builders.export.run import export
from builders.export.hub import push
from builders.shards.cache import _give_memory_back


def now():
    gc.collect()
    _give_memory_back()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {{
        "mb": resident / 2**20,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "watched": len(findings._WATCHED),
    }}


out, seen = sys.stdout, []
sys.stdout = sys.stderr
for _ in range({rounds}):
    for folder in (os.environ["BUILDERS_HOME"], os.environ["HF_HOME"], {folder!r}):
        shutil.rmtree(folder, ignore_errors=True)
    loaded = load_dataset("./wingert2026", "A1")
    streamed = load_dataset("./wingert2026", "PEG", streaming=True)
    rows = len(list(streamed["val"])) + len(loaded["est"])
    export(find_corpus("wingert2026"), ["CLT027c"], {folder!r})
    push(find_corpus("wingert2026"), "me/soak", ["CLT027c"])
    del loaded, streamed
    seen.append(now() | {{"rows": rows}})
out.write(json.dumps(seen))
"""


@pytest.mark.slow
def test_nothing_piles_up(
    mini_release: Path, tmp_path: Path, releases: Callable[[str], Path]
) -> None:
    with HubServer(tmp_path / "hub") as hub:
        seen = json.loads(
            run_python(
                SOAK.format(rounds=ROUNDS, folder=str(tmp_path / "export")),
                **hub.environment(tmp_path / "hf", "hf_owner"),
                WINGERT2026_DATA=str(mini_release),
                BUILDERS_HOME=str(tmp_path / "builders"),
                BUILDERS_OFFLINE="1",
            )
        )
    print(seen)
    assert len(seen) == ROUNDS
    assert len({each["rows"] for each in seen}) == 1
    third, last = seen[2], seen[-3:]
    for name in ("descriptors", "threads", "watched"):
        assert max(each[name] for each in last) <= third[name], seen
    assert min(each["mb"] for each in last) <= third["mb"] + NOISE_MB, seen
