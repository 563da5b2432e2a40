"""What a user of plain `datasets` gets, in processes that import nothing of ours."""

from __future__ import annotations

import csv
import json
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import load_dataset, load_dataset_builder

from builders.corpus.registry import find_corpus
from builders.errors import CorpusError
from tests.conftest import run_python
from wingert2026 import Wingert2026
from wingert2026.synthetic.release import archives

AREAS = ("A1", "AC", "HC", "PEG", "unlabeled")
SUBSETS = ("est", "val")

# What every child process begins with. `rows` says of each record which it is, and its number of
# trials; `emit` hands something to the test.
PLAIN = """
import json, sys
import datasets
from datasets import load_dataset

assert not {name.partition(".")[0] for name in sys.modules} & {"builders", "wingert2026"}

def rows(data):
    data = data.select_columns(["stim_id", "cell_id", "onsets"])
    return [[row["stim_id"], row["cell_id"], len(row["onsets"])] for row in data]

def emit(value):
    print("\\n>>>" + json.dumps(value))
"""


def plain(code: str, **environment: str) -> Any:
    """What a script emits that knows nothing but `datasets`.

    Streams import torch where it is installed, which takes longer than most of the tests.
    """
    out = run_python(PLAIN + textwrap.dedent(code), **{"USE_TORCH": "0", **environment})
    return json.loads(out.rpartition(">>>")[2])


Row = list[str | int]
Expect = Callable[..., list[Row]]


@cache
def loaded(home: Path) -> dict[str, dict[str, list[Row]]]:
    """The rows of each split of several configs; one process loads them one after the other."""
    found: dict[str, dict[str, list[Row]]] = plain("""
        probes = ["SLJ032a", "SLJ032a-A", "SLJ032a-B", "SLJ032a-AB"]
        found = {}
        for config in [None, "A1", "LMD037a", *probes, "est", "val", "goodpred"]:
            data = load_dataset("./wingert2026", config)
            found[config or "default"] = {split: rows(data[split]) for split in data}
        emit(found)
    """)
    return found


@pytest.fixture
def cells(mini_release: Path) -> list[dict[str, str]]:
    """The cell list, read without the package's own reader."""
    with (mini_release / "cell_list.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def expect(cells: list[dict[str, str]]) -> Expect:
    """The records that must be there, by the plan that the mini release was made from.

    ``expect(subset, area, ...)``: by path of the shard, then stimulus name, then the list's order.
    """
    plans = {plan.session: plan for plan in archives("mini", 0)}

    def shard(subset: str, listed: list[dict[str, str]]) -> Iterator[Row]:
        plan = plans[listed[0]["cellid"].split("-")[0]]
        for stim, repetitions in sorted(plan.repetitions.items()):
            if stim.startswith("STIM_00") == (subset == "val"):
                for cell in listed:
                    if cell["cellid"] in plan.cells:
                        yield [f"{plan.session}/{stim}", cell["cellid"], repetitions]

    def expect(subset: str, *areas: str, **of_cell: str) -> list[Row]:
        found: list[Row] = []
        kept = [cell for cell in cells if of_cell.items() <= cell.items()]
        for area in areas:
            in_area = [cell for cell in kept if (cell["area"] or "unlabeled") == area]
            for site in sorted({cell["siteid"] for cell in in_area}, key="{}/".format):
                found += shard(subset, [cell for cell in in_area if cell["siteid"] == site])
        return found

    return expect


def test_an_area_loads_each_stimulus_of_each_of_its_cells(home: Path, expect: Expect) -> None:
    assert loaded(home)["A1"] == {subset: expect(subset, "A1") for subset in SUBSETS}


def test_the_default_is_the_cohort_of_the_paper(home: Path, expect: Expect) -> None:
    assert loaded(home)["default"] == {subset: expect(subset, "A1", "PEG") for subset in SUBSETS}


def test_a_site_loads_with_all_its_areas(home: Path, expect: Expect) -> None:
    site = {subset: expect(subset, "A1", "AC", siteid="LMD037a") for subset in SUBSETS}
    assert len({cell for _, cell, _ in site["est"]}) == 99 + 149
    assert loaded(home)["LMD037a"] == site


def test_a_probe_is_a_site_and_has_a_name_of_its_own(home: Path, expect: Expect) -> None:
    """SLJ032a-A is the site SLJ032a; neither holds the cells of SLJ032a-B."""
    for config, site in (("SLJ032a", "SLJ032a"), ("SLJ032a-A", "SLJ032a"), ("SLJ032a-B",) * 2):
        expected = {subset: expect(subset, "PEG", siteid=site) for subset in SUBSETS}
        assert loaded(home)[config] == expected


def test_the_probes_of_a_session_load_together(home: Path, expect: Expect) -> None:
    probes = loaded(home)["SLJ032a-AB"]
    records = probes["est"] + probes["val"]
    assert len({cell for _, cell, _ in records}) == 76 + 47
    assert len({stim for stim, _, _ in records}) == 56
    for subset in SUBSETS:
        assert sorted(probes[subset]) == sorted(expect(subset, "PEG", siteid_2="SLJ032a"))


def test_a_subset_loads_alone_with_every_area(home: Path, expect: Expect) -> None:
    for subset in SUBSETS:
        assert loaded(home)[subset] == {subset: expect(subset, *AREAS)}


def test_goodpred_keeps_the_well_predicted_cells_of_the_cohort(home: Path, expect: Expect) -> None:
    good = {subset: expect(subset, "A1", "PEG", goodpred="True") for subset in SUBSETS}
    assert len(good["est"]) < len(expect("est", "A1", "PEG"))
    assert loaded(home)["goodpred"] == good


def test_cells_load_as_one_split_in_the_lists_order(
    home: Path, cells: list[dict[str, str]]
) -> None:
    splits, ids, union = plain("""
        data = load_dataset("./wingert2026", "cells")
        union = load_dataset("./wingert2026", "cells", split="all")
        emit([list(data), data["cells"]["cellid"][:], union["cellid"][:]])
    """)
    assert splits == ["cells"]
    assert ids == union == [cell["cellid"] for cell in cells]


def test_stimuli_load_once_per_session(home: Path) -> None:
    found = plain("""
        data = load_dataset("./wingert2026", "stimuli").with_format("numpy")
        emit({
            split: [[row["stim_id"], int(row["n_trials"]), float(row["dt_ms"]),
                     list(row["spectrogram"].shape), str(row["spectrogram"].dtype)]
                    for row in data[split]]
            for split in data
        })
    """)
    plans = {plan.session: plan for plan in archives("mini", 0)}
    for subset in SUBSETS:
        assert found[subset] == [
            [
                f"{session}/{stim}",
                plans[session].repetitions[stim],
                10.0,
                [32, 2200 if session.startswith("CLT") else 2000],
                "float32",
            ]
            for session in sorted(plans)
            for stim in sorted(plans[session].repetitions)
            if stim.startswith("STIM_00") == (subset == "val")
        ]


def test_a_split_loads_alone(home: Path, expect: Expect) -> None:
    val, both, five = plain("""
        emit([rows(load_dataset("./wingert2026", "CLT050c", split=split))
              for split in ("val", "est+val", "est[:5]")])
    """)
    expected = {subset: expect(subset, "PEG", siteid="CLT050c") for subset in SUBSETS}
    assert val == expected["val"]
    assert both == expected["est"] + expected["val"]
    assert five == expected["est"][:5]


def test_streaming_gives_the_same_rows_in_the_same_order(home: Path, expect: Expect) -> None:
    same, cohort = plain("""
        whole = load_dataset("./wingert2026", "CLT050c")
        stream = load_dataset("./wingert2026", "CLT050c", streaming=True)
        assert list(stream) == list(whole) == ["est", "val"]
        same = [list(stream[split]) == list(whole[split]) for split in whole]
        columns = ["stim_id", "cell_id", "onsets"]
        cohort = load_dataset("./wingert2026", split="val", streaming=True, columns=columns)
        emit([same, rows(cohort)])
    """)
    assert same == [True, True]
    assert cohort == expect("val", "A1", "PEG")


@cache
def selected(home: Path) -> dict[str, Any]:
    """What ``columns=`` and ``filters=`` give, mapped and streamed."""
    found: dict[str, Any] = plain("""
        columns, filters = ["cell_id", "response"], [("layer", "==", "44")]
        found = {"names": [], "rows": []}
        for options in ({}, {"streaming": True}):
            options["split"] = "val"
            some = load_dataset("./wingert2026", "CLT050c", columns=columns, **options)
            every = load_dataset("./wingert2026", "CLT050c", **options)
            assert list(some) == list(every.select_columns(columns))
            found["names"].append(list(next(iter(some))))
            some = load_dataset("./wingert2026", "A1", filters=filters, **options)
            found["rows"].append(rows(some))
        emit(found)
    """)
    return found


def test_columns_are_all_that_is_loaded(home: Path) -> None:
    assert selected(home)["names"] == [["cell_id", "response"]] * 2


def test_filters_choose_rows_by_the_cells_columns(home: Path, expect: Expect) -> None:
    expected = expect("val", "A1", layer="44")
    assert 0 < len(expected) < len(expect("val", "A1"))
    assert selected(home)["rows"] == [expected, expected]


def test_two_processes_load_what_one_does(own_home: Path) -> None:
    """With empty caches: both processes come upon shards of a session that nobody has built."""
    assert plain(f"""
        parallel = load_dataset("./wingert2026", "LMD037a", num_proc=2)
        serial = load_dataset("./wingert2026", "LMD037a", cache_dir={str(own_home / "serial")!r})
        emit([
            [len(parallel[split]), len(parallel[split].cache_files),
             parallel[split].with_format("arrow")[:].equals(serial[split].with_format("arrow")[:])]
            for split in ("est", "val")
        ])
    """) == [[248 * 4, 2, True], [248 * 2, 2, True]]


@cache
def torch_rows(home: Path) -> dict[str, list[Any]]:
    """Keys, number of trials, shape and type of some records of A1, in three ways.

    That their counts are those of the map-style data set is checked on the way.
    """
    found: dict[str, list[Any]] = plain(
        """
        from datasets import List, Value
        from torch.utils.data import DataLoader
        some = {"split": "val", "filters": [("layer", "==", "44")]}
        whole = load_dataset("./wingert2026", "A1", **some).with_format("torch")
        stream = load_dataset("./wingert2026", "A1", **some, streaming=True).with_format("torch")
        for features in (whole.features, stream.features):  # torch itself makes float64 float32
            assert features["response"] == List(List(Value("float32")))
        loader = DataLoader(stream, batch_size=None, num_workers=2)
        counts, found = {}, {}
        for way, data in {"map": whole, "stream": stream, "loader": loader}.items():
            found[way] = []
            for row in data:
                key, response = (row["stim_id"], row["cell_id"]), row["response"]
                assert response.equal(counts.setdefault(key, response)), (way, key)
                facts = len(row["onsets"]), list(response.shape), str(response.dtype)
                found[way].append([*key, *facts])
        emit(found)
        """,
        USE_TORCH="1",
    )
    return found


def test_torch_gets_counts_as_float32_trials_by_bins(home: Path, expect: Expect) -> None:
    expected = [
        [*row, [row[2], 2200 if str(row[0]).startswith("CLT") else 2000], "torch.float32"]
        for row in expect("val", "A1", layer="44")
    ]
    assert torch_rows(home)["map"] == torch_rows(home)["stream"] == expected


def test_the_workers_of_a_loader_yield_each_record_once(home: Path) -> None:
    found = torch_rows(home)
    assert sorted(found["loader"]) == sorted(found["map"])


def test_the_workers_of_a_loader_may_be_spawned(own_home: Path, expect: Expect) -> None:
    """As on macOS and Windows: each process begins anew and knows what it is sent alone."""
    mapped, stream, n_rows = plain("""
        import multiprocess
        from builders.stimuli import with_stimuli
        from builders.training import collate
        from torch.utils.data import DataLoader

        multiprocess.set_start_method("spawn")
        both = load_dataset("./wingert2026", "A1", num_proc=2, columns=["stim_id"])
        stimuli = load_dataset("./wingert2026", "stimuli", num_proc=2)
        found = []
        for streaming in (False, True):
            val = load_dataset("./wingert2026", "CLT027c", split="val", streaming=streaming)
            loader = DataLoader(
                with_stimuli(val, stimuli), batch_size=8, collate_fn=collate, num_workers=2,
                multiprocessing_context="spawn",
            )
            found.append([
                [*ids, len(onsets)]
                for batch in loader
                for *ids, onsets in zip(batch["stim_id"], batch["cell_id"], batch["onsets"])
            ])
        emit([*found, both.num_rows])
    """, USE_TORCH="1")  # fmt: skip
    expected = sorted(expect("val", "A1", siteid="CLT027c"))
    assert sorted(mapped) == sorted(stream) == expected
    assert n_rows == {split: len(expect(split, "A1")) for split in SUBSETS}


def test_two_nodes_share_the_records_out(home: Path, expect: Expect) -> None:
    """A1 has 5 shards, which both nodes read; the cohort has 8, of which each reads half."""
    found = plain("""
        from datasets.distributed import split_dataset_by_node
        found = []
        for config in ("A1", "A1+PEG"):
            for streaming in (False, True):
                data = load_dataset(
                    "./wingert2026", config, split="val", streaming=streaming,
                    columns=["stim_id", "cell_id", "onsets"],
                )
                found.append([rows(split_dataset_by_node(data, rank, 2)) for rank in range(2)])
        emit(found)
    """)
    expected = [sorted(expect("val", *areas)) for areas in (["A1"], ["A1", "PEG"])]
    assert [sorted(first + second) for first, second in found] == [
        records for records in expected for _ in range(2)
    ]
    assert all(first and second for first, second in found)


# Which files below a folder a process opens: its audit hook sees every `open` of the interpreter.
SPY = """
opened = []
def spy(event, arguments):
    if event == "open" and str(arguments[0]).startswith({release!r}):
        opened.append(str(arguments[0]).rpartition("/")[2])
sys.addaudithook(spy)
"""


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_second_load_reads_what_the_first_one_left(
    home: Path, mini_release: Path, expect: Expect, offline: str
) -> None:
    def cached() -> dict[Path, tuple[int, int]]:
        files = [*home.rglob("*.arrow"), *home.rglob("*.parquet")]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}

    load_dataset("./wingert2026", "A1")
    before = cached()
    opened, est, files = plain(
        SPY.format(release=str(mini_release))
        + textwrap.dedent("""
        data = load_dataset("./wingert2026", "A1")
        files = [file["filename"] for split in data for file in data[split].cache_files]
        import fsspec
        for shard in fsspec.open_files("corpus://wingert2026/data/A1/*/*.parquet"):
            with shard as file:
                assert file.read(4) == b"PAR1"
        emit([opened, rows(data["est"]), files])
        """),
        HF_HUB_OFFLINE=offline,
    )
    assert est == expect("est", "A1")
    assert set(opened) == {"cell_list.csv"}
    assert cached() == before
    assert files
    assert set(map(Path, files)) <= set(before)


def test_a_first_build_needs_no_network(own_home: Path, expect: Expect) -> None:
    """As on the node of a cluster, with the release on its disk."""
    found = plain(
        """
        streamed = load_dataset("./wingert2026", "CLT027c", split="val", streaming=True)
        parallel = load_dataset("./wingert2026", "CLT050c", split="val", num_proc=2)
        area = load_dataset("./wingert2026", "A1", split="est")
        emit([rows(area), rows(streamed), rows(parallel)])
        """,
        HF_HUB_OFFLINE="1",
    )
    assert found[0] == expect("est", "A1")
    assert found[1] == expect("val", "A1", siteid="CLT027c")
    assert found[2] == expect("val", "PEG", siteid="CLT050c")


def test_other_data_sets_are_still_refused_offline(home: Path) -> None:
    """And a release that is not here is not fetched."""
    message, ours = plain(
        """
        import os
        def refused(*args, **kwargs):
            try:
                load_dataset(*args, **kwargs)
            except Exception as error:
                return str(error)
        load_dataset("./wingert2026", "cells")
        import fsspec, pyarrow, pyarrow.parquet
        with fsspec.open("memory://x.parquet", "wb") as file:
            pyarrow.parquet.write_table(pyarrow.table({"x": [1]}), file)
        there = refused("parquet", data_files="memory://x.parquet")
        del os.environ["NAT4_DATA"], os.environ["BUILDERS_OFFLINE"]
        emit([there, refused("./nat4", "cells")])
        """,
        HF_HUB_OFFLINE="1",
    )
    assert "Offline mode is enabled" in message
    assert "HF_HUB_OFFLINE is set" in ours
    assert "builders fetch nat4" in ours


@pytest.mark.parametrize("name", ["nat4", "wingert2026"])
def test_the_info_of_a_builder_says_what_it_is(own_home: Path, name: str) -> None:
    """Before anything is built."""
    config = {"nat4": "TNC008a", "wingert2026": "CLT027c"}[name]
    builder = load_dataset_builder(f"./{name}", config)
    info = builder.info
    corpus = find_corpus(name)
    assert info.description.startswith(f"{name}: ferret auditory cortex")
    assert "doi.org" in info.description
    assert info.citation.startswith("@article")
    assert info.homepage == corpus.source
    assert (
        info.license
        == {
            "nat4": "cc-by-4.0",
            "wingert2026": info.license,
        }[name]
    )
    assert "licence" in info.license or name == "nat4"
    assert list(info.splits) == ["est", "val"]
    assert [split.num_examples for split in info.splits.values()] == [None, None]
    loaded = load_dataset(f"./{name}", config)
    assert info.features == loaded["est"].features
    assert loaded["est"].info.description == info.description
    assert {
        k: each.num_examples for k, each in loaded["est"].info.splits.items()
    } == loaded.num_rows
    stream = load_dataset(f"./{name}", config, split="est", streaming=True)
    assert stream.features == info.features
    assert stream.info.citation == info.citation
    assert corpus(config).info.features == info.features
    columns = ["cell_id", "response"]
    few = load_dataset_builder(f"./{name}", config, columns=columns)
    assert list(few.info.features) == columns


def test_the_builder_class_alone_loads_the_same(home: Path) -> None:
    for config in ("CLT050c", "goodpred", "cells"):
        loaded = load_dataset("./wingert2026", config)
        builder = Wingert2026(config)
        builder.download_and_prepare()
        built = builder.as_dataset()
        assert {split: len(built[split]) for split in built} == loaded.num_rows
        last = list(loaded)[-1]
        assert table(built[last]).equals(table(loaded[last]))
        assert built[last].features == loaded[last].features


def test_the_builder_class_streams_the_same(home: Path) -> None:
    for config in ("CLT050c", "cells"):
        streamed, loaded = (
            Wingert2026(config).as_streaming_dataset(),
            load_dataset("./wingert2026", config),
        )
        assert {split: list(streamed[split]) for split in streamed} == {
            split: list(loaded[split]) for split in loaded
        }


def table(data: Any) -> pa.Table:
    found: pa.Table = data.with_format("arrow")[:]
    return found


def test_the_builder_class_takes_columns_and_filters(home: Path, expect: Expect) -> None:
    builder = Wingert2026("A1", columns=["cell_id"], filters=[("layer", "==", "44")])
    builder.download_and_prepare()
    data = builder.as_dataset(split="val")
    assert data[:] == {"cell_id": [cell for _, cell, _ in expect("val", "A1", layer="44")]}


def test_an_unknown_config_of_the_class_names_its_neighbours(home: Path) -> None:
    with pytest.raises(CorpusError, match="unknown config of wingert2026 'A11'") as error:
        Wingert2026("A11")
    hint, _, valid = str(error.value).partition("valid names: ")
    assert "did you mean A1? " in hint
    assert valid.split(", ") == sorted(config.name for config in Wingert2026.BUILDER_CONFIGS)


def test_a_site_that_the_release_lacks_names_those_it_has(home: Path, mini_release: Path) -> None:
    with pytest.raises(CorpusError, match="CLT033c") as of_class:
        Wingert2026("CLT033c")
    kind, message = plain("""
        try:
            load_dataset("./wingert2026", "CLT033c")
        except RuntimeError as error:
            emit([type(error).__name__, str(error)])
    """)
    assert kind == "CorpusError"
    for text in (str(of_class.value), message):
        hint, _, valid = text.partition("valid names: ")
        assert "'CLT033c'" in hint
        assert str(mini_release) in hint
        assert set(hint.partition("did you mean ")[2].rstrip("? ").split(" or ")) == {
            "CLT027c",
            "CLT028c",
            "CLT050c",
        }
        assert {"LMD037a", "SLJ032a-B"} < set(valid.split(", "))


def test_without_the_release_the_error_says_where_to_get_it(home: Path) -> None:
    found = plain("""
        import os
        found = []
        os.environ["BUILDERS_OFFLINE"] = "1"
        for folder in ("", "no/such/folder"):
            os.environ["WINGERT2026_DATA"] = folder
            try:
                load_dataset("./wingert2026", "A1")
            except RuntimeError as error:
                found.append([type(error).__name__, str(error)])
        emit(found)
    """)
    assert [kind for kind, _ in found] == ["CorpusError", "CorpusError"]
    for _, message in found:
        assert "WINGERT2026_DATA" in message
        assert "https://doi.org/10.5281/zenodo.18331549" in message
    assert "no/such/folder" in found[1][1]


def test_what_others_load_is_left_alone(home: Path, tmp_path: Path) -> None:
    """In a process that has loaded one of ours: a folder of files, some of which do not count."""
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x\n1\n")
    for name in ("notes.md", "z.foo"):
        (tmp_path / name).write_text("nothing\n")
    code = f"""
    from datasets import load_dataset
    load_dataset("./wingert2026", "cells")
    print(len(load_dataset({str(tmp_path)!r}, split="train")))
    """
    assert run_python(code).split()[-1] == "2"
