"""Our corpora and that of the tutorial, each from a fetch to the Hub, as its users would."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders.corpus.registry import find_corpus
from tests.conftest import OURS, REPOSITORY
from tests.corpus.test_tutorial import run, write_package
from tests.releases import as_published
from tests.servers.hub import HubServer
from tests.servers.zenodo import ZenodoServer

TUTORIAL = "lab2020"
#: Where a server of the tests has the files of the tutorial's corpus.
NUMBER = 2020

# A child process in which the corpus is as if the synthetic release were the published one. It runs
# commands, and a training loop, and prints what each command said.
SCRIPT = """
import json, os, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
import builders
from builders.cli import app
from builders.corpus.registry import find_corpus
from builders.stimuli import with_stimuli
from builders.training import collate
from datasets import load_dataset
from torch.utils.data import DataLoader
from typer.testing import CliRunner

name, stated, commands = json.loads(sys.argv[1])
corpus = find_corpus(name)
for attribute, value in stated.items():
    setattr(corpus, attribute, value)

def train():
    path, config = builders.path(name), corpus.DEFAULT_CONFIG_NAME
    records = load_dataset(path, config, split="est")
    stream = load_dataset(path, config, split="est", streaming=True)
    assert [repr(row) for row in stream] == [repr(row) for row in records]
    joined = with_stimuli(records.with_format("arrow"), load_dataset(path, "stimuli"))
    n, shown = 0, 0
    for batch in DataLoader(joined, batch_size=32, collate_fn=collate):
        n += len(batch["response"])
        shown += int((batch["mask"] & batch["stimulus_mask"][:, None]).sum())
    assert n == len(records) > 0 and shown > 0

def score():
    # Each record is predicted by its longest trial.
    config = corpus.DEFAULT_CONFIG_NAME
    val = load_dataset(builders.path(name), config, split="val")
    rows = [
        {"cell_id": row["cell_id"], "stim_id": row["stim_id"],
         "prediction": np.nan_to_num(max(row["response"], key=len))}
        for row in val
    ]
    file = os.path.join(os.environ["BUILDERS_HOME"], "predictions.parquet")
    pq.write_table(pa.Table.from_pylist(rows), file)
    done = CliRunner().invoke(app, ["score", name, config, file, "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    found = json.loads(done.stdout)
    cells = sum(row["n_cells"] for row in found["summary"] if row["cells"] == "all")
    assert cells == len(found["cells"]) == len(val.unique("cell_id"))
    assert any(row["correlation"]["n"] for row in found["summary"])

said = {}
for command in commands:
    if command == ["train"]:
        train()
        score()
    else:
        done = CliRunner().invoke(app, command)
        assert done.exit_code == (command[0] == "validate"), (command, done.output, done.exception)
        said[" ".join(command)] = done.output
print(json.dumps(said))
"""


def of_tutorial(package: Path, folder: Path) -> Path:
    """A synthetic release of the tutorial's corpus."""
    done = run(package, "builders", "synthesize", TUTORIAL, str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", [*OURS, TUTORIAL])
def test_from_a_fetch_to_the_hub(
    name: str, releases: Callable[[str], Path], tmp_path: Path
) -> None:
    package = write_package(tmp_path / "package") if name == TUTORIAL else REPOSITORY
    release = of_tutorial(package, tmp_path / "mine") if name == TUTORIAL else releases(name)
    files = as_published(release, tmp_path)
    number = NUMBER if name == TUTORIAL else find_corpus(name).record
    assert number
    out, figures = tmp_path / "out", [tmp_path / f"{each}.png" for each in ("record", "coverage")]
    commands = [
        ["status"],
        ["fetch", name, "--yes"],
        ["train"],
        ["info", name, "--json"],
        ["validate", name, "--deep"],  # some facts fail, since the release is a small one
        *(["plot", name, each.stem, "--out", str(each)] for each in figures),
        ["export", name, "--out", str(out)],
        ["verify", str(out)],
        ["push", name, f"me/{name}"],
        ["verify", f"me/{name}"],
    ]
    with ZenodoServer(records={number: files}) as zenodo, HubServer(tmp_path / "hub") as hub:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                SCRIPT,
                json.dumps([name, stated_of(name, files, zenodo), commands]),
            ],
            cwd=REPOSITORY,
            env={
                **{key: value for key, value in os.environ.items() if not key.endswith("_DATA")},
                **hub.environment(tmp_path / "hf", "hf_owner"),
                "ZENODO_ENDPOINT": zenodo.url,
                "PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")]),
                "BUILDERS_HOME": str(tmp_path / "builders"),
                "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            },
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        pushed = hub.repository(f"me/{name}").files()
    assert done.returncode == 0, done.stderr[-4000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert "missing" in said["status"]
    told = json.loads(said[f"info {name} --json"])
    assert told["facts"]
    assert 0 < told["built"] <= told["of"]
    assert "; 0 differences" in said[f"validate {name} --deep"]
    assert all("as its manifest says" in said[f"verify {each}"] for each in (out, f"me/{name}"))
    assert all(drawn.read_bytes().startswith(b"\x89PNG") for drawn in figures)
    exported = {path.relative_to(out).as_posix() for path in out.rglob("*.parquet")}
    assert exported == {path for path in pushed if path.endswith(".parquet")}

    here = {path.name: path for path in (tmp_path / "builders/releases" / name).rglob("*.t*")}
    released = {path.name: path for path in release.rglob("*.t*")}  # archives, and spikes
    assert len(here.keys() & released.keys()) > 1
    for file in here.keys() & released.keys():
        assert here[file].read_bytes() == released[file].read_bytes()


def stated_of(name: str, files: dict[str, Path | bytes], zenodo: ZenodoServer) -> dict[str, Any]:
    """What the corpus must state of its files: no checksums, or addresses with checksums."""
    if name != TUTORIAL:
        return {"published": dict.fromkeys(find_corpus(name).published, "")}
    paths = {file: path for file, path in files.items() if isinstance(path, Path)}
    return {
        "urls": {file: f"{zenodo.url}/records/{NUMBER}/files/{file}" for file in paths},
        "published": {
            file: f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
            for file, path in paths.items()
        },
    }
