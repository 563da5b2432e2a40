"""How fast, and how small: each figure beside a floor that is measured in the same run.

    builders synthesize wingert2026 FOLDER --scale full; builders synthesize nat4 OTHER --scale full
    WINGERT2026_DATA=FOLDER NAT4_DATA=OTHER python scripts/benchmark.py [--json] [FIGURE ...]
    WINGERT2026_DATA=FOLDER python scripts/benchmark.py --sites [--json]

The floor of a config is what nobody can do without, in one process that keeps nothing: inflate its
archives and read the spike times (wingert2026), or inflate the population's CSV and parse it with
pyarrow (nat4). Each figure is the median of some child processes that start with empty caches
(but for the operating system's, which the floor has warmed). Imports are measured apart.

The host of a virtual machine takes back memory that has been free for seconds. Whoever asks for it
again waits for the host: 2.4 ms a MB on the machine of the README, six times what it takes the
machine itself. So some memory is asked for, and freed, before each child, a floor's too.

Memory is the peak of all anonymous memory of a process and its children: pages of files that
`datasets` maps can be given back at any time, and are not counted. Looking at it takes time of the
process, so it is found in a run of its own.

Sites differ: how much of an archive is spike times, and how many records they make. `--sites` takes
every site of wingert2026 once, each with its own floor.
"""

from __future__ import annotations

import argparse
import csv
import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

REPOSITORY = Path(__file__).parent.parent
PAUSE = 0.02  # s between two looks at a child's memory
#: Bytes that are asked for before each child: as many as the tables of A1+PEG, and more. At most
#: half of what is free.
TOUCHED = 6 << 30

READ_ARCHIVES = """
import glob, io, os, tarfile
import h5py
from isal import igzip
def read(pattern):
    for path in sorted(glob.glob(os.environ["WINGERT2026_DATA"] + "/recordings/" + pattern)):
        with igzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if member.name.endswith("resp.h5"):
                    with h5py.File(io.BytesIO(tar.extractfile(member).read())) as file:
                        for cell in file:
                            file[cell][:]
"""
READ_CSV = """
import os, tarfile
import pyarrow as pa, pyarrow.csv as csv
from isal import igzip
def read(name):
    with igzip.open(os.environ["NAT4_DATA"] + "/" + name) as stream:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 18) as tar:
            for member in tar:
                if member.name.endswith("resp.csv"):
                    text = tar.extractfile(member)
                    names = [str(n) for n in range(849)]
                    for batch in csv.open_csv(
                        text,
                        read_options=csv.ReadOptions(
                            column_names=names, block_size=8 << 20, use_threads=False),
                        convert_options=csv.ConvertOptions(
                            column_types=dict.fromkeys(names, pa.float64())),
                    ):
                        pass
"""
DATASETS = """
import os, glob
from concurrent.futures import ProcessPoolExecutor
import fsspec, torch
from datasets import load_dataset, disable_progress_bars
from datasets.utils.logging import set_verbosity_error
import builders.repository.filesystem, nat4.builder, wingert2026.builder
disable_progress_bars(); set_verbosity_error()
def build(path):
    fsspec.filesystem("corpus").open("corpus://" + path).close()
def shards(pattern):
    return fsspec.filesystem("corpus").glob("corpus://" + pattern)
"""
TRAINING = (
    DATASETS
    + """
from itertools import islice
from torch.utils.data import DataLoader
from builders.population import Population
from builders.stimuli import with_stimuli
from builders.training import collate
URL = "corpus://wingert2026/stimuli/{session}/*.parquet"
"""
)
SITE = "CLT028c"


@dataclass(frozen=True)
class Figure:
    """What is measured: `code` after `imports`, whose time is not counted.

    `floor` names another figure; `after` says whose caches it starts with, instead of empty ones.
    `code` may set ``count``, of which the figure is then given per second.
    """

    imports: str
    code: str
    floor: str = ""
    after: str = ""


def load(corpus: str, config: str) -> str:
    return f'load_dataset("./{corpus}", "{config}")'


def floor(*folders: str) -> Figure:
    """Of the archives of some folders of wingert2026; a session with cells in two is read once."""
    return Figure(
        READ_ARCHIVES
        + "from fnmatch import fnmatch\nfrom builders.repository.filesystem import _repository\n",
        f"""
        jobs = _repository("wingert2026").jobs()
        wanted = {{id(job): job for path, job in jobs.items()
                  if any(fnmatch(path, f"data/{{folder}}/*") for folder in {folders!r})}}
        names = [archive.name for job in wanted.values() for archive in job.archives()]
        start()
        for name in names:
            read(name)
        """,
    )


def of_site(site: str) -> dict[str, Figure]:
    """What `--sites` measures of a site of wingert2026."""
    return {
        "floor": floor(f"*/{site}"),
        "shards": Figure(
            DATASETS,
            f"""
            for path in shards("wingert2026/data/*/{site}/est.parquet"):
                build(path)
            """,
        ),
        "load, cold": Figure(DATASETS, load("wingert2026", site)),
    }


ONE_SITE = of_site(SITE)
FIGURES = {
    "floor of one site": ONE_SITE["floor"],
    "floor of A1": floor("A1/*"),
    "floor of A1+PEG": floor("A1/*", "PEG/*"),
    "floor of nat4 A1": Figure(READ_CSV, 'read("A1_NAT4_ozgf.fs100.ch18.tgz")'),
    "import of datasets, torch and builders": Figure("", DATASETS),
    "shards of one site": replace(ONE_SITE["shards"], floor="floor of one site"),
    "shards of A1, 2 processes": Figure(
        DATASETS,
        """
        with ProcessPoolExecutor(2) as pool:
            list(pool.map(build, shards("wingert2026/data/A1/*/est.parquet")))
        """,
        "floor of A1",
    ),
    "est shards of nat4 A1": Figure(
        DATASETS, 'build("nat4/data/A1/TNC008a/est.parquet")', "floor of nat4 A1"
    ),
    "load one site, cold": replace(ONE_SITE["load, cold"], floor="floor of one site"),
    "load A1, cold": Figure(DATASETS, load("wingert2026", "A1"), "floor of A1"),
    "load A1, cold, num_proc=2": Figure(
        DATASETS, 'load_dataset("./wingert2026", "A1", num_proc=2)', "floor of A1"
    ),
    "load A1, again": Figure(DATASETS, load("wingert2026", "A1"), after="load A1, cold"),
    "load A1+PEG, cold": Figure(DATASETS, load("wingert2026", "A1+PEG"), "floor of A1+PEG"),
    "load nat4 A1, cold": Figure(DATASETS, load("nat4", "A1"), "floor of nat4 A1"),
    "first streamed record of A1": Figure(
        DATASETS,
        """
        next(iter(load_dataset("./wingert2026", "A1", split="est", streaming=True)))
        """,
        "floor of one site",
    ),
    "all streamed records of A1": Figure(
        DATASETS,
        """
        stream = load_dataset("./wingert2026", "A1", split="est", streaming=True)
        for table in stream.with_format("arrow").iter(1000): pass  # builds the shards
        start(); count = sum(len(table) for table in stream.with_format("arrow").iter(1000))
        """,
        after="load A1, cold",
    ),
    "joined records/s, map-style": Figure(
        TRAINING,
        f"""
        records = load_dataset("./wingert2026", "{SITE}", split="est").with_format("arrow")
        stimuli = load_dataset(
            "parquet", data_files=URL.format(session="{SITE}"), split="train")
        loader = DataLoader(with_stimuli(records, stimuli), batch_size=32, collate_fn=collate)
        start(); count = sum(len(batch["response"]) for batch in loader)
        """,
    ),
    "joined records/s, streamed": Figure(
        TRAINING,
        f"""
        stream = load_dataset("./wingert2026", "{SITE}", split="est", streaming=True)
        stimuli = load_dataset(
            "parquet", data_files=URL.format(session="{SITE}"), split="train")
        joined = with_stimuli(stream.with_format("arrow"), stimuli)
        next(joined.iter(32))
        start(); count = sum(len(collate(table)["response"]) for table in joined.iter(32))
        """,
    ),
    "population pairs/s": Figure(
        TRAINING,
        f"""
        records = load_dataset("./wingert2026", "{SITE}", split="est")
        stimuli = load_dataset(
            "parquet", data_files=URL.format(session="{SITE}"), split="train")
        population = Population(records, stimuli)
        population[0]
        start()
        for batch in DataLoader(population, batch_size=4, collate_fn=Population.collate): pass
        count = int(population.present.sum())
        """,
    ),
    **{
        f"records/s of A1, {kind}, shuffled, 2 workers": Figure(
            TRAINING,
            f"""
            records = load_dataset("./wingert2026", "A1", split="est", streaming={streaming})
            stimuli = load_dataset("./wingert2026", "stimuli", split="est")
            data = with_stimuli(records, stimuli)
            data = data.shuffle(seed=0)
            loader = DataLoader(data, 32, num_workers=2, collate_fn=collate)
            start(); count = sum(len(batch["response"]) for batch in islice(loader, 500))
            """,
            after="load A1, cold",
        )
        for kind, streaming in (("mapped", False), ("streamed", True))
    },
    **{
        f"population of A1, {n} batches of 4, shuffled, 2 workers": Figure(
            TRAINING,
            f"""
            records = load_dataset("./wingert2026", "A1", split="est")
            stimuli = load_dataset("./wingert2026", "stimuli", split="est")
            population = Population(records, stimuli)
            loader = DataLoader(
                population, 4, shuffle=True, num_workers=2, collate_fn=Population.collate)
            start(); count = sum(len(batch["response"]) for batch in islice(loader, {n}))
            """,
            after="load A1, cold",
        )
        for n in (25, 100)
    },
    **{
        f"memory, {n} sessions streamed": Figure(
            DATASETS,
            f"""
            paths = shards("wingert2026/data/*/*/est.parquet")[:{n}]
            stream = load_dataset(
                "parquet", data_files=["corpus://" + path for path in paths], split="train",
                streaming=True)
            count = sum(len(table) for table in stream.with_format("arrow").iter(1000))
            """,
        )
        for n in (4, 16, 67)
    },
}


@dataclass(frozen=True)
class Measured:
    """Wall and CPU time in seconds, peak memory in MB, MB read and written, things per second."""

    wall_s: float
    cpu_s: float
    memory_mb: float
    read_mb: float
    written_mb: float
    per_second: float | None
    disk_mb: dict[str, float]


def measure(figure: Figure, caches: Path, watched: bool = False) -> Measured:
    """Run a figure's code in a child process; only of a watched one is the memory known."""
    program = "\n".join(
        [
            "import json as _json, time as _time, os as _os",
            "def _bytes():",
            "    return [int(line.split()[1]) for line in open('/proc/self/io')][:2]",
            "def start():",
            "    global _wall, _cpu, _io",
            "    _wall, _cpu, _io = _time.perf_counter(), sum(_os.times()[:4]), _bytes()",
            "count = None",
            figure.imports,
            "if __name__ == '__main__':",
            "    start()",
            textwrap.indent(textwrap.dedent(figure.code), "    "),
            "    _found = [_time.perf_counter() - _wall, sum(_os.times()[:4]) - _cpu, count]",
            "    _found += [after - before for before, after in zip(_io, _bytes())]",
            "    print(_json.dumps(_found), flush=True)",
            # Arrow's threads abort some interpreters that end after a stream in the Arrow format.
            "    _os._exit(0)",
        ]
    )
    script = caches / "figure.py"
    caches.mkdir(parents=True, exist_ok=True)
    script.write_text(program)
    environment = {
        **os.environ,
        "BUILDERS_HOME": str(caches / "builders"),
        "HF_HOME": str(caches / "huggingface"),
        "PYTHONPATH": str(REPOSITORY),
    }
    _touch_memory()
    with subprocess.Popen(
        [sys.executable, script], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
    ) as child:
        peak = _watch(child) if watched else lambda: 0.0
        out, _ = child.communicate()
        memory = peak()
    if child.returncode:
        raise SystemExit(f"a figure failed:\n{program}")
    wall, cpu, count, read, written = json.loads(out.splitlines()[-1])
    sizes = {
        name: _size(caches / path)
        for name, path in {
            "shards": "builders/shards",
            "downloads": "huggingface/datasets/downloads",
            "Arrow": "huggingface/datasets",
        }.items()
    }
    sizes["Arrow"] -= sizes["downloads"]
    per_second = count / wall if count else None
    return Measured(wall, cpu, memory, read / 1e6, written / 1e6, per_second, sizes)


def _touch_memory() -> None:
    size = min(TOUCHED, os.sysconf("SC_AVPHYS_PAGES") // 2 * mmap.PAGESIZE)
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for page in range(0, size, mmap.PAGESIZE):
            memory[page] = 1


def _watch(child: subprocess.Popen[str]) -> Callable[[], float]:
    """Look at the memory of a child and of its children until it ends; gives the peak in MB."""
    peak = [0]

    def look() -> None:
        while child.poll() is None:
            peak[0] = max(peak[0], sum(map(_anonymous, _family(child.pid))))
            time.sleep(PAUSE)

    thread = threading.Thread(target=look)
    thread.start()

    def join() -> float:
        thread.join()
        return peak[0] / 1e3

    return join


def _family(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return [pid]
    return [pid, *(each for child in text.split() for each in _family(int(child)))]


def _anonymous(pid: int) -> int:
    """Anonymous memory of a process in kB; what it shares with others is divided among them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def run(names: Sequence[str], repeats: int) -> dict[str, Measured]:
    """Measure some figures, and the floors and caches that they need."""
    found: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as root:

        def take(name: str) -> None:
            figure = FIGURES[name]
            for needed in (figure.floor, figure.after):
                if needed and needed not in found:
                    take(needed)
            caches = Path(root) / (figure.after or name).replace(" ", "-")
            taken = []
            for watched in [*[False] * repeats, True]:
                if not figure.after:
                    shutil.rmtree(caches, ignore_errors=True)
                taken.append(measure(figure, caches, watched))
            memory_mb = taken.pop().memory_mb
            typical = sorted(taken, key=lambda each: each.wall_s)[len(taken) // 2]
            found[name] = replace(typical, memory_mb=memory_mb)
            print(f"{name}: {found[name].wall_s:.2f} s", file=sys.stderr)

        for name in names:
            if name not in found:
                take(name)
    return found


def run_sites() -> dict[str, dict[str, Measured]]:
    """Measure every site of wingert2026 once."""
    with (REPOSITORY / "wingert2026" / "sites.csv").open(encoding="utf-8") as file:
        sites = [row["siteid"] for row in csv.DictReader(file)]
    found: dict[str, dict[str, Measured]] = {}
    for site in sites:
        found[site] = {}
        for name, figure in of_site(site).items():
            with tempfile.TemporaryDirectory(prefix="benchmark-") as root:
                found[site][name] = measure(figure, Path(root))
        print(site, *(f"{each.wall_s:.2f} s" for each in found[site].values()), file=sys.stderr)
    return found


def table_of_sites(found: dict[str, dict[str, Measured]]) -> str:
    """Medians and extremes of the sites' figures as a table in Markdown."""
    lines = [
        f"| of {len(found)} sites | wall s, median | of floor, median | lowest | highest |",
        "|---|---|---|---|---|",
    ]
    for name in ("shards", "load, cold"):
        ratios = {site: each[name].wall_s / each["floor"].wall_s for site, each in found.items()}
        ascending = sorted(ratios, key=lambda site: ratios[site])
        ends = " | ".join(f"{ratios[ascending[i]]:.1f} ({ascending[i]})" for i in (0, -1))
        wall = median(each[name].wall_s for each in found.values())
        lines.append(f"| {name} | {wall:.2f} | {median(ratios.values()):.1f} | {ends} |")
    return "\n".join(lines)


def table(found: dict[str, Measured]) -> str:
    """The figures as a table in Markdown."""
    lines = [
        "| | wall s | of floor | CPU s | peak MB | read MB | written MB | per s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, each in found.items():
        floor = FIGURES[name].floor
        ratio = f"{each.wall_s / found[floor].wall_s:.1f}" if floor else ""
        rate = f"{each.per_second:,.0f}" if each.per_second else ""
        lines.append(
            f"| {name} | {each.wall_s:.2f} | {ratio} | {each.cpu_s:.1f} | {each.memory_mb:.0f} "
            f"| {each.read_mb:,.0f} | {each.written_mb:,.0f} | {rate} |"
        )
    for name, each in found.items():
        if name.startswith("load") and any(each.disk_mb.values()):
            sizes = ", ".join(f"{cache} {size:,.0f} MB" for cache, size in each.disk_mb.items())
            lines.append(f"\n{name}: {sizes}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", help="names of figures; all, if none is given")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sites", action="store_true", help="every site of wingert2026, once")
    arguments = parser.parse_args()
    for name in arguments.figures:
        if name not in FIGURES:
            parser.error(f"unknown figure {name!r}; there are: {', '.join(FIGURES)}")
    found: Any
    if arguments.sites:
        found = run_sites()
        text = table_of_sites(found)
    else:
        found = run(arguments.figures or list(FIGURES), arguments.repeats)
        text = table(found)
    print(json.dumps(found, indent=1, default=asdict) if arguments.json else text)


if __name__ == "__main__":
    main()
