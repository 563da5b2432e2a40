"""An export: the same bytes, loaded the same by those who have nothing of ours, written once."""

from __future__ import annotations

import csv
import getpass
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Features, load_dataset
from huggingface_hub import DatasetCard

from builders.corpus.registry import find_corpus
from builders.errors import CorpusError
from builders.export.croissant import CROISSANT
from builders.export.folder import Folder, verify_folder
from builders.export.manifest import MANIFEST, Manifest
from builders.export.run import export
from builders.files import digest
from builders.repository.card import HERE, local_card
from tests.conftest import REPOSITORY, run_python
from tests.release.test_zenodo import published, server
from tests.releases import change_cells, change_member, copy_release, small_sites
from tests.servers.zenodo import ZenodoServer
from tests.test_cli import builders

__all__ = ["published", "server"]  # fixtures

Exports = Callable[[str], Path]

# What a child process begins with that has none of our code.
STRANGER = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("builders", "wingert2026", "nat4"):
            raise ImportError(f"{name} is not installed")
sys.meta_path.insert(0, Blocked())
from datasets import load_dataset
"""


def stranger(code: str, **environment: str) -> Any:
    """What a script prints last, as JSON, that cannot import anything of ours.

    It ends at once: where a stream was left early, Arrow now and then aborts an interpreter that
    ends (apache/arrow#34314), and nothing of ours is there to wait for its threads.
    """
    end = "\nimport os\nsys.stdout.flush()\nos._exit(0)\n"
    out = run_python(STRANGER + textwrap.dedent(code) + end, **{"USE_TORCH": "0", **environment})
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def exports(
    releases: Callable[[str], Path], shared_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Exports:
    """The whole export of a corpus, made once. Tests do not write into it."""
    root = tmp_path_factory.mktemp("exports")

    def exported(corpus: str) -> Path:
        out = root / corpus
        if not out.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(f"{corpus.upper()}_DATA", str(releases(corpus)))
                patch.setenv("BUILDERS_HOME", str(shared_home / "builders"))
                assert not export(find_corpus(corpus), [], str(out)).failures
        return out

    return exported


@pytest.fixture
def own_release(
    own_home: Path, releases: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of wingert2026's mini release, to be spoiled."""
    folder = copy_release(releases("wingert2026"), own_home / "release")
    monkeypatch.setenv("WINGERT2026_DATA", str(folder))
    return folder


@pytest.fixture
def built(exports: Exports, own_home: Path, shared_home: Path) -> None:
    """The shards of wingert2026's mini release need not be built again."""
    exports("wingert2026")
    shards = "builders/shards/wingert2026"
    shutil.copytree(shared_home / shards, own_home / shards, copy_function=os.link)


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def times(folder: Path) -> dict[str, int]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in paths}


def manifest_of(folder: Path) -> Manifest:
    return Manifest.from_json((folder / MANIFEST).read_bytes())


def header_of(folder: Path) -> dict[str, Any]:
    header: dict[str, Any] = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    return header


def archive_of(release: Path, session: str) -> Path:
    return next((release / "recordings").glob(f"{session}_*.tgz"))


def without_est(content: bytes) -> bytes:
    """An epoch table without the estimation stimuli."""
    lines = content.splitlines(keepends=True)
    return b"".join(line for line in lines if b"STIM_" not in line or b"STIM_00" in line)


def test_it_holds_the_bytes_of_the_repository_and_no_more(
    corpus: str, exports: Exports, home: Path
) -> None:
    found = contents(exports(corpus))
    repository = fsspec.filesystem("corpus")
    shards = {
        path.partition("/")[2]
        for path in repository.find(corpus)
        if path.endswith(".parquet") and "/waveforms/" not in path
    }
    folder = REPOSITORY / corpus
    linked = {path.relative_to(folder).as_posix() for path in folder.glob("figures/*.png")}
    assert set(found) == shards | linked | {"README.md", "CITATION.bib", CROISSANT, MANIFEST}
    links = re.findall(r"\]\((?!http|#)(.*?)\)", found["README.md"].decode())
    assert set(links) == linked | {"CITATION.bib"}  # none is broken
    for path in {*linked, "CITATION.bib"}:
        assert found[path] == (folder / path).read_bytes()
    assert len(shards) >= 15
    for path in shards:
        assert found[path] == repository.cat_file(f"{corpus}/{path}")


CONFIGS = {
    "wingert2026": ["SLJ032a-AB"],
    "nat4": [None, "A1", "A1-auditory", "TNC008a", "cells", "stimuli"],
    "espejo2019": [None, "NAT", "VMN", "btn144a", "cells", "stimuli"],
}


def test_it_loads_the_same_without_our_code(
    corpus: str, exports: Exports, home: Path, tmp_path: Path
) -> None:
    """Rows, their order and features; as a whole, and the first ones of a stream."""
    found = stranger(
        f"""
        import pyarrow as pa
        found = []
        for number, config in enumerate({CONFIGS[corpus]!r}):
            data = load_dataset({str(exports(corpus))!r}, config)
            stream = load_dataset({str(exports(corpus))!r}, config, streaming=True)
            assert list(stream) == list(data)
            for split in data:
                assert list(stream[split].take(2)) == list(data[split].select(range(2)))
                table = data[split].with_format("arrow")[:]
                with pa.OSFile(f"{tmp_path}/{{number}}-{{split}}", "wb") as file:
                    with pa.ipc.new_file(file, table.schema) as writer:
                        writer.write_table(table)
                assert stream[split].features == data[split].features
            found.append({{split: repr(data[split].features) for split in data}})
        print(json.dumps(found))
        """,
        HF_HOME=str(tmp_path / "hf"),
    )
    for number, (config, features) in enumerate(zip(CONFIGS[corpus], found, strict=True)):
        local = load_dataset(f"./{corpus}", config)
        assert features == {split: repr(local[split].features) for split in local}
        for split in local:
            with pa.memory_map(str(tmp_path / f"{number}-{split}")) as file:
                table = pa.ipc.open_file(file).read_all()
                expected = local[split].with_format("arrow")[:]
                assert table.schema == expected.schema
                # Not `equals`: a missing value, NaN, is not equal to itself.
                for name in table.column_names:
                    same = repr(table[name].to_pylist()) == repr(expected[name].to_pylist())
                    assert same, (config, split, name)


def test_the_manifest_says_what_each_shard_is_and_was_made_from(
    corpus: str, exports: Exports, home: Path, releases: Callable[[str], Path]
) -> None:
    manifest = manifest_of(exports(corpus))
    assert manifest.corpus == corpus
    assert manifest.source == find_corpus(corpus).source
    repository = fsspec.filesystem("corpus")
    checksums = {path.name: digest(path, "sha256") for path in releases(corpus).rglob("*.*")}
    archives = set()
    for path, shard in manifest.shards.items():
        file = exports(corpus) / path
        assert shard.bytes == file.stat().st_size
        assert shard.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        table = pq.read_table(file)
        assert shard.rows == len(table)
        assert shard.memory == pytest.approx(table.nbytes, rel=0.05, abs=200)
        assert shard.etag == repository.info(f"{corpus}/{path}")["ETag"]
        assert shard.version == "0.1.0"
        archives |= set(shard.sources.items())
        for name, checksum in shard.sources.items():
            if not checksum.startswith("crc32:"):  # in a zip
                assert checksum == f"sha256:{checksums[name]}"
    assert len(archives) >= 9
    assert manifest.lists == {
        name: f"sha256:{checksums[name]}" for name in checksums if name.endswith(".csv")
    }


def test_equal_data_give_equal_bytes_and_nothing_of_this_machine(
    exports: Exports, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "elsewhere"
    export(find_corpus("nat4"), [], str(out))
    assert contents(out) == contents(exports("nat4"))
    for name in (MANIFEST, "README.md"):
        text = (out / name).read_text()
        for secret in (str(tmp_path), str(home), os.environ["NAT4_DATA"], f"/{getpass.getuser()}"):
            assert secret not in text


def test_the_card_states_what_is_loaded(corpus: str, exports: Exports, home: Path) -> None:
    out = exports(corpus)
    header = header_of(out)
    local = yaml.safe_load(local_card(find_corpus(corpus)).split("---\n")[1])
    base = f"corpus://{corpus}/"
    names = [config["config_name"] for config in header["configs"]]
    wanted = [each for each in local["configs"] if each["config_name"] in names]
    assert header["configs"] == json.loads(json.dumps(wanted).replace(base, ""))
    assert "waveforms" not in names
    with_sizes = [info["config_name"] for info in header["dataset_info"]]
    sites = {path.parent.name for path in out.glob("data/*/*/*")}
    with_config = sites & set(find_corpus(corpus).builder_configs)
    assert set(names) - set(with_sizes) == with_config | ({"SLJ032a-A"} & set(names))  # a site, too
    text = (out / "README.md").read_text()
    for info in header["dataset_info"]:
        data = load_dataset(f"./{corpus}", info["config_name"])
        assert {each["name"]: each["num_examples"] for each in info["splits"]} == data.num_rows
        for each in info["splits"]:
            assert each["num_bytes"] == pytest.approx(
                data[each["name"]].with_format("arrow")[:].nbytes, rel=0.05, abs=200
            )
        rows = ", ".join(f"{split} {number:,}" for split, number in data.num_rows.items())
        assert f"| `{info['config_name']}` | {rows} | " in text
        features = Features._from_yaml_list(info["features"])
        assert features == next(iter(data.values())).features
    card = DatasetCard(text)
    assert card.data.pretty_name == local["pretty_name"]
    body = local_card(find_corpus(corpus)).split("---\n", 2)[2]
    assert body.rstrip().replace(f'"./{corpus}"', HERE) in text
    assert "./" + corpus not in text
    assert (REPOSITORY / corpus / "CITATION.bib").read_text().strip() in text
    for checksum in manifest_of(out).lists.values():
        assert checksum in text


def test_the_join_on_the_card_works(exports: Exports, home: Path, tmp_path: Path) -> None:
    text = (exports("nat4") / "README.md").read_text().partition("## What is here")[2]
    code = text.split("```python\n")[1].split("```")[0].replace(HERE, repr(str(exports("nat4"))))
    assert len(code.splitlines()) == 4
    names: dict[str, Any] = {"load_dataset": load_dataset}
    exec(code, names)
    row = names["stimuli"].filter(lambda row: row["stim_id"] == names["records"][0]["stim_id"])[0]
    assert names["spectrogram"] == row["spectrogram"]


def test_shards_and_row_groups_are_of_a_size_to_be_streamed(corpus: str, exports: Exports) -> None:
    for path in exports(corpus).rglob("*.parquet"):
        assert path.stat().st_size <= 25e6
        file = pq.ParquetFile(path)
        sizes = [file.read_row_group(group).nbytes for group in range(file.num_row_groups)]
        assert all(8 << 20 <= size <= 16 << 20 for size in sizes[:-1])
        assert all(size <= 16 << 20 for size in sizes)


def test_a_second_export_writes_nothing(own_home: Path) -> None:
    out = own_home / "out"
    first = export(find_corpus("nat4"), [], str(out))
    assert len(first.written) == len(first.manifest.shards)
    before = times(out)
    shutil.rmtree(own_home / "builders" / "shards")  # what lies there need not be built again
    second = export(find_corpus("nat4"), [], str(out))
    assert second.written == []
    assert second.manifest == first.manifest
    assert times(out) == before
    assert not (own_home / "builders" / "shards").exists()


@pytest.mark.usefixtures("built")
def test_a_changed_archive_rewrites_its_shards_and_is_seen(own_release: Path) -> None:
    """Neither do other shards change, nor is what was loaded before taken for it."""
    out, corpus = own_release.parent / "out", find_corpus("wingert2026")
    export(corpus, ["PEG"], str(out))
    before, loaded = times(out), load_dataset(str(out), "PEG")

    def later(content: bytes) -> bytes:
        """The epochs of the estimation stimuli under other names."""
        return content.replace(b"STIM_seq", b"STIM_sfx")

    site = own_release.parent / "site"
    export(corpus, ["CLT050c", "cells"], str(site))
    old = set(load_dataset(str(site), "CLT050c")["est"]["stim"])
    change_member(archive_of(own_release, "CLT050c"), ".resp.epoch.csv", later)
    change_member(archive_of(own_release, "CLT050c"), ".stim.epoch.csv", later)
    done = export(corpus, ["PEG"], str(out))
    assert done.written == ["data/PEG/CLT050c/est.parquet"]
    changed = {path for path, time in times(out).items() if before[path] != time}
    assert changed == {*done.written, "README.md", MANIFEST}
    again = load_dataset(str(out), "PEG")
    assert again.num_rows == loaded.num_rows
    stims = [set(data["est"]["stim"]) for data in (loaded, again)]
    assert any(stim.startswith("STIM_sfx") for stim in stims[1] - stims[0])
    export(corpus, ["CLT050c"], str(site))
    assert not old & set(load_dataset(str(site), "CLT050c")["est"]["stim"])


def test_the_card_of_a_part_says_so(home: Path, tmp_path: Path) -> None:
    export(find_corpus("wingert2026"), ["CLT027c", "cells"], str(tmp_path))
    _, _, body = (tmp_path / "README.md").read_text().split("---\n", 2)
    title, told, *_ = body.strip().split("\n\n")
    assert title.startswith("# wingert2026")
    assert told.startswith("**This is a part of wingert2026: `cells`, `CLT027c`; ")
    assert '"A1"' not in body
    assert "## Configs" not in body
    assert body.count("## Columns") == body.count("## What is here") == 1
    (line,) = (line for line in body.splitlines() if line.startswith("rows = "))
    code, _, n_rows = line.replace(HERE, repr(str(tmp_path))).partition("  # ")
    names: dict[str, Any] = {"load_dataset": load_dataset}
    exec(code, names)
    assert n_rows == f"{len(names['rows'])} rows" == "180 rows"
    export(find_corpus("wingert2026"), ["CLT027c"], str(tmp_path / "site"))
    text = (tmp_path / "site" / "README.md").read_text()
    assert "**This is a part of wingert2026: `CLT027c`; " in text


def test_exports_of_some_configs_add_up(exports: Exports, home: Path, tmp_path: Path) -> None:
    """Nothing is claimed that is there in part only: neither `A1` nor the default config."""
    out, corpus = tmp_path / "out", find_corpus("nat4")
    export(corpus, ["TNC008a", "PEG"], str(out))
    names = [each["config_name"] for each in header_of(out)["configs"]]
    assert names == ["PEG", "PEG-auditory", "TNC008a", "ARM017a", "ARM018a"]
    assert not any(each.get("default") for each in header_of(out)["configs"])
    kept = times(out)
    export(corpus, ["cells"], str(out))
    assert "cells" in [each["config_name"] for each in header_of(out)["configs"]]
    now = times(out)
    assert {path for path in now if kept.get(path) != now[path]} == {
        "cells.parquet",
        "README.md",
        CROISSANT,
        MANIFEST,
    }
    assert load_dataset(str(out), "PEG").num_rows == load_dataset("./nat4", "PEG").num_rows
    export(corpus, ["A1", "stimuli"], str(out))
    whole = contents(exports("nat4"))
    assert {path: content for path, content in contents(out).items() if path != MANIFEST} == {
        path: content for path, content in whole.items() if path != MANIFEST
    }
    assert verify_folder(str(out)) == []


@pytest.mark.usefixtures("built")
def test_a_split_without_rows_is_left_out(own_release: Path) -> None:
    for signal_name in ("resp", "stim"):
        change_member(archive_of(own_release, "CLT050c"), f".{signal_name}.epoch.csv", without_est)
    out = own_release.parent / "out"
    export(find_corpus("wingert2026"), ["CLT050c", "cells"], str(out))
    site = header_of(out)["configs"][1]
    assert [each["split"] for each in site["data_files"]] == ["val"]
    assert pq.read_metadata(out / "data/PEG/CLT050c/est.parquet").num_rows == 0
    val = load_dataset("./wingert2026", "CLT050c", split="val")
    loaded = f"""
        data = load_dataset({str(out)!r}, "CLT050c")
        print(json.dumps([data.num_rows, repr(data["val"].features)]))
    """
    found = stranger(loaded, HF_HOME=str(own_release.parent / "hf"))
    assert found == [{"val": len(val)}, repr(val.features)]
    assert row_of(out, "CLT050c")[1::2] == [
        f"val {len(val)}",
        "no rows in est, which cannot be loaded",
    ]


def row_of(folder: Path, config: str) -> list[str]:
    """What the card's last table says of a config: name, rows, size, and what it lacks."""
    table = (folder / "README.md").read_text().partition("## What is here")[2]
    (row,) = [line for line in table.splitlines() if line.startswith(f"| `{config}` |")]
    return [cell.strip() for cell in row.split("|")[1:-1]]


@pytest.mark.parametrize("good", ["True", "False"])
def test_a_split_that_a_filter_leaves_without_rows_is_left_out(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, good: str
) -> None:
    """Two sites with validation stimuli alone, whose cells are all predicted well, or none is."""
    out, release = own_home / "out", small_sites(own_home / "release", {"STIM_00seq1.wav": 2})
    change_cells(release / "cell_list.csv", goodpred=good)
    monkeypatch.setenv("WINGERT2026_DATA", str(release))
    assert not export(find_corpus("wingert2026"), ["goodpred", "A1"], str(out)).failures
    configs = {each["config_name"]: each for each in header_of(out)["configs"]}
    rows = {"A1": "val 3"} | ({"goodpred": "val 6"} if good == "True" else {})
    splits = {name: [each["split"] for each in configs[name]["data_files"]] for name in rows}
    assert splits == {name: ["val"] for name in rows}
    lack = "no rows in est, which cannot be loaded"
    for name, number in rows.items():
        assert row_of(out, name)[1::2] == [number, lack]
    found = stranger(
        f"print(json.dumps([load_dataset({str(out)!r}, name).num_rows for name in {list(rows)}]))",
        HF_HOME=str(own_home / "hf"),
    )
    assert [f"val {number['val']}" for number in found] == list(rows.values())
    if good == "False":
        assert "goodpred" not in configs
        assert row_of(out, "goodpred")[1::2] == ["", f"{lack}; {lack.replace('est', 'val')}"]


COHORT = ("data/A1/", "data/PEG/")
KILLED = """
import sys
from builders.corpus.registry import find_corpus
from builders.export.run import export
export(find_corpus("wingert2026"), ["A1+PEG"], sys.argv[1])
"""


def test_what_is_killed_on_the_way_is_whole_after_another_run(
    exports: Exports, own_home: Path
) -> None:
    out, everything = own_home / "out", contents(exports("wingert2026"))
    whole = {path: everything[path] for path in everything if path.startswith(COHORT)}
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(out)], stderr=subprocess.DEVNULL)
    while len(list(out.rglob("*.parquet"))) < 5:
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    there = {path: content for path, content in contents(out).items() if path.endswith(".parquet")}
    assert 5 <= len(there) < len(whole) - 3
    assert all(whole[path] == content for path, content in there.items())
    assert manifest_of(out).shards == {}
    (out / "data/A1/CLT027c").mkdir(parents=True, exist_ok=True)
    (out / "data/A1/CLT027c/.est.parquet.12.345").write_bytes(b"PAR1 and no more")
    done = export(find_corpus("wingert2026"), ["A1+PEG"], str(out))
    shards = {path: each for path, each in contents(out).items() if path.startswith("data/")}
    assert shards == whole
    assert len(done.written) == len(whole) - len(there)
    assert verify_folder(str(out)) == []


@pytest.mark.usefixtures("built")
def test_a_damaged_archive_keeps_no_other_from_being_exported(
    own_release: Path, exports: Exports
) -> None:
    archive, out = archive_of(own_release, "CLT027c"), own_release.parent / "out"
    content = archive.read_bytes()
    archive.unlink()
    archive.write_bytes(content[: len(content) // 2])
    done = builders("export", "wingert2026", "A1", "goodpred", "cells", "CLT028c", "--out", out)
    assert done.returncode == 1
    assert "CLT027c-records: cannot read a recording" in done.stderr
    assert archive.name in done.stderr
    assert "1 jobs failed" in done.stderr
    assert "Traceback" not in done.stderr
    shards = {path for path in contents(out) if path.endswith(".parquet")}
    wanted = [path for path in contents(exports("wingert2026")) if "CLT027c" not in path]
    assert shards == {
        path for path in wanted if path.startswith(("data/A1/", "data/PEG/", "cells"))
    }
    assert set(manifest_of(out).shards) == shards
    assert verify_folder(str(out)) == []
    text = (out / "README.md").read_text()
    assert text.count("incomplete: 2 shards") == 2  # A1 and goodpred
    assert "CLT027c" not in [each["config_name"] for each in header_of(out)["configs"]]
    found = load_dataset(str(out), "A1")  # which compares the numbers of rows
    assert "CLT027c" not in set(found["est"]["session"])


@pytest.mark.usefixtures("built")
def test_a_site_that_left_the_list_leaves_the_export(own_release: Path) -> None:
    out, cells = own_release.parent / "out", own_release / "cell_list.csv"
    export(find_corpus("wingert2026"), ["HC", "CLT050c"], str(out))
    (out / "notes.txt").write_text("mine")
    with cells.open(newline="") as file:
        rows = [row for row in csv.reader(file) if not row[0].startswith("CLT050c")]
    with cells.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    done = export(find_corpus("wingert2026"), ["HC"], str(out))
    assert {path.split("/")[1] for path in done.manifest.shards} == {"HC"}
    assert not list(out.rglob("CLT050c/*"))
    assert (out / "notes.txt").read_text() == "mine"


def test_verify_lists_every_problem(exports: Exports, home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(find_corpus("nat4"), [], str(out))
    assert verify_folder(str(out)) == []
    done = builders("verify", out)
    assert (done.returncode, done.stdout) == (0, "as its manifest says\n")
    (out / "cells.parquet").unlink()
    longer, other = out / "stimuli/est.parquet", out / "stimuli/val.parquet"
    longer.write_bytes(longer.read_bytes() + b"x")
    content = other.read_bytes()
    other.write_bytes(content[:-1] + b"x")
    (out / "data/A1/extra.parquet").write_bytes(b"")
    (out / ".hidden").write_bytes(b"")
    done = builders("verify", out)
    assert done.returncode == 1
    problems = done.stdout.splitlines()
    assert problems == verify_folder(f"file://{out}")
    expected = hashlib.sha256(content).hexdigest()
    found = hashlib.sha256(other.read_bytes()).hexdigest()
    assert problems == [
        "cells.parquet: missing",
        f"stimuli/est.parquet: {longer.stat().st_size} bytes, expected {longer.stat().st_size - 1}",
        f"stimuli/val.parquet: sha256 {found}, expected {expected}",
        "data/A1/extra.parquet: not in MANIFEST.json",
    ]
    assert "4 problems" in done.stderr


def test_what_cannot_be_done_is_said_before_anything_is_written(home: Path, tmp_path: Path) -> None:
    nat4, wingert2026 = find_corpus("nat4"), find_corpus("wingert2026")
    out = tmp_path / "out"
    with pytest.raises(CorpusError, match="did you mean A1"):
        export(nat4, ["A11"], str(out))
    with pytest.raises(CorpusError, match="CRD016d"):  # not in the mini release
        export(nat4, ["CRD016d"], str(out))
    with pytest.raises(CorpusError, match="cannot use nosuch://bucket"):
        export(nat4, ["cells"], "nosuch://bucket")
    with pytest.raises(CorpusError, match="no MANIFEST"):
        verify_folder(str(out))
    assert not out.exists()
    export(nat4, ["cells"], str(out))
    before = contents(out)
    with pytest.raises(CorpusError, match="that of nat4"):
        export(wingert2026, ["cells"], str(out))
    assert contents(out) == before
    (out / MANIFEST).write_text("{}")
    with pytest.raises(CorpusError, match="cannot read a manifest"):
        export(nat4, ["cells"], str(out))
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match="cannot use a folder"):
        export(nat4, ["cells"], str(tmp_path / "file"))


def test_waveforms_are_written_where_they_are_named(
    own_home: Path, releases: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All with the bytes of their files; what a release without them lacks is said."""
    out, corpus = own_home / "out", find_corpus("nat4")
    assert export(corpus, ["waveforms"], str(out)).failures == []
    (found,) = load_dataset(str(out), "waveforms").values()
    (local,) = load_dataset("./nat4", "waveforms").values()
    assert found.features == local.features
    assert list(found) == list(local)
    without = copy_release(releases("nat4"), own_home / "release")
    (without / "wav.zip").unlink()
    monkeypatch.setenv("NAT4_DATA", str(without))
    done = export(corpus, ["cells", "waveforms"], str(own_home / "without"))
    assert set(done.manifest.shards) == {"cells.parquet"}
    assert [message.split(":")[0] for message in done.failures] == [
        f"waveforms-{part}" for part in range(4)
    ]
    assert all("nor wav.zip is there" in message for message in done.failures)
    assert [each["config_name"] for each in header_of(own_home / "without")["configs"]] == ["cells"]


def test_what_is_fetched_is_the_same_and_its_checksums_are_the_published_ones(
    server: ZenodoServer, own_home: Path, exports: Exports, releases: Callable[[str], Path]
) -> None:
    out = own_home / "out"
    export(find_corpus("nat4"), ["A1"], str(out))
    whole, found = contents(exports("nat4")), contents(out)
    shards = {path for path in found if path.endswith(".parquet")}
    assert shards == {path for path in whole if path.startswith("data/A1/")}
    assert all(found[path] == whole[path] for path in shards)
    sources = dict(
        pair for each in manifest_of(out).shards.values() for pair in each.sources.items()
    )
    population = "A1_NAT4_ozgf.fs100.ch18.tgz"
    assert sources.pop(population) == f"md5:{digest(releases('nat4') / population, 'md5')}"
    assert sources
    for name, checksum in sources.items():  # members of a zip: CRC and size
        content = (releases("nat4") / "A1_single_sites" / name).read_bytes()
        assert checksum == f"crc32:{zlib.crc32(content):08x}-{len(content)}"


def test_any_file_system_will_do(exports: Exports, home: Path) -> None:
    out = "memory://neurons/nat4"
    assert export(find_corpus("nat4"), [], out).failures == []
    folder = Folder(out)
    assert {path: folder.read(path) for path in folder.sizes()} == contents(exports("nat4"))
    assert verify_folder(out) == []


def test_the_yaml_takes_what_the_exporter_knows_better(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(find_corpus("wingert2026"), ["cells"], str(out), metadata={"license": "cc-by-4.0"})
    assert header_of(out)["license"] == "cc-by-4.0"


@pytest.mark.parametrize("name", ["README.md", "data/A1/CLT028c/est.parquet", "thesis.tex"])
def test_where_other_files_are_nothing_is_written(home: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(CorpusError, match=f"{re.escape(name)} lie there, and no MANIFEST.json"):
        export(find_corpus("wingert2026"), ["cells"], str(tmp_path))
    assert contents(tmp_path) == {name: b"mine"}


def test_hidden_files_are_not_in_the_way(home: Path, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref")
    (tmp_path / ".gitattributes").write_text("*.parquet lfs")
    assert not export(find_corpus("wingert2026"), ["cells"], str(tmp_path)).failures
    assert verify_folder(str(tmp_path)) == []
    assert (tmp_path / ".git" / "HEAD").read_text() == "ref"


@pytest.mark.parametrize(
    "out", ["wingert2026", "nat4", "builders", "builders/exported", "wingert2026/new/one"]
)
def test_the_folders_of_packages_are_not_written_to(home: Path, out: str) -> None:
    before = {path: path.read_bytes() for path in (REPOSITORY / "wingert2026").glob("*.md")}
    with pytest.raises(CorpusError, match="cannot export into a package"):
        export(find_corpus("wingert2026"), ["cells"], str(REPOSITORY / out))
    assert {path: path.read_bytes() for path in before} == before
    assert not (REPOSITORY / "builders" / "exported").exists()


def test_a_password_in_an_address_is_not_told(home: Path) -> None:
    address = "ftp://me:s3cret@127.0.0.1:9/exported"
    for call in (
        lambda: export(find_corpus("nat4"), ["cells"], address),
        lambda: verify_folder(address),
    ):
        with pytest.raises(CorpusError) as caught:
            call()
        assert "s3cret" not in str(caught.value)
