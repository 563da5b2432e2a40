"""A walk through each corpus whose release it is given, as the authors' notebook takes it.

    WINGERT2026_DATA=<folder> NAT4_DATA=<folder> python scripts/quickstart.py

To load, nothing is imported but `datasets`: the catalogue answers to ``corpus://``. Joined batches
and the picture are of `builders`.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from textwrap import fill
from typing import Any

from datasets import Dataset, disable_progress_bars, load_dataset
from torch.utils.data import DataLoader

from builders import plots
from builders.population import Population
from builders.stimuli import with_stimuli
from builders.training import collate

REPOSITORY = Path(__file__).parent.parent
CORPUS, NAT4 = str(REPOSITORY / "wingert2026"), str(REPOSITORY / "nat4")


def main() -> None:
    disable_progress_bars()
    if "WINGERT2026_DATA" in os.environ:
        print(f"wingert2026, from {os.environ['WINGERT2026_DATA']}")
        cells()
        one_site()
        two_sites()
        two_probes()
        durations()
        streamed()
        batch()
        joined_batch()
        picture()
    if "NAT4_DATA" in os.environ:
        print(f"\nnat4, from {os.environ['NAT4_DATA']}")
        populations()
        trials()


def title(text: str) -> None:
    print(f"\n{text}")


def cells() -> None:
    title('cells: load_dataset("./wingert2026", "cells") reads cell_list.csv and nothing else')
    table = load_dataset(CORPUS, "cells", split="cells")
    print(f"  {len(table)} cells of {len(table.unique('site'))} sites")
    for column in ("area", "layer", "narrow", "goodpred"):
        counts = Counter(str(value) for value in table[column])
        print(f"  {column:9}", "  ".join(f"{value} {n}" for value, n in counts.most_common()))


def one_site() -> None:
    title('one site: load_dataset("./wingert2026", "CLT027c")')
    start = time.perf_counter()
    site = load_dataset(CORPUS, "CLT027c")
    seconds = time.perf_counter() - start
    est, val = site["est"], site["val"]
    print(f"  {len(est) + len(val)} records in {seconds:.1f} s")
    print(
        f"  {len(est.unique('cell_id'))} cells; {stimuli(est)} est and {stimuli(val)} val stimuli"
    )
    print(f"  T = {len(est[0]['response'][0])} bins of 10 ms")
    for stim, response in dict(zip(val["stim"], val["response"], strict=True)).items():
        print(f"  {stim}: R = {len(response)} trials")


def two_sites() -> None:
    title("two sites: stimuli are told apart by session")
    sites = [load_dataset(CORPUS, name) for name in ("CLT027c", "CLT028c")]
    records = sum(len(rows) for site in sites for rows in site.values())
    ids = {key for site in sites for rows in site.values() for key in rows.unique("stim_id")}
    print(f"  CLT027c and CLT028c: {records} records of {len(ids)} stimuli")


def two_probes() -> None:
    title("two probes in one session: SLJ032a and SLJ032a-B")
    both = load_dataset(CORPUS, "SLJ032a-AB")
    cells = {
        (row["probe"], row["cell_id"]) for row in both["val"].select_columns(["probe", "cell_id"])
    }
    probes = Counter(probe for probe, _ in cells)
    print(f"  cells: {probes['A']} of probe A, {probes['B']} of probe B")
    print(f"  stimuli: {sum(stimuli(rows) for rows in both.values())}, once for both")


def durations() -> None:
    title("two cohorts")
    for name in ("SLJ032a", "CLT027c"):
        row = load_dataset(CORPUS, name, split="val", streaming=True)
        print(f"  {name}: T = {len(next(iter(row))['response'][0])}")


def streamed() -> None:
    title('a streamed record: load_dataset("./wingert2026", "A1", split="est", streaming=True)')
    record = next(iter(load_dataset(CORPUS, "A1", split="est", streaming=True)))
    response = record.pop("response")
    print(fill(str(record), 100, initial_indent="  ", subsequent_indent="   "))
    print(f"  response: {len(response)} x {len(response[0])}, {sum(map(sum, response)):.0f} spikes")


def batch() -> None:
    title('a torch batch: ds.with_format("torch") in a DataLoader')
    est = load_dataset(CORPUS, "CLT027c", split="est").with_format("torch")
    loaded = next(iter(DataLoader(est.select_columns(["cell_id", "response"]), batch_size=16)))
    print(f"  response: {tuple(loaded['response'].shape)} {loaded['response'].dtype}")


def joined_batch() -> None:
    title("the stimulus beside the response: with_stimuli, collate, Population")
    est = load_dataset(CORPUS, "CLT027c", split="est")
    joined: Any = with_stimuli(est.with_format("arrow"), spectrograms())
    batch = next(iter(DataLoader(joined, batch_size=16, collate_fn=collate)))
    for name in ("spectrogram", "response", "mask"):
        print(f"  {name}: {tuple(batch[name].shape)} {batch[name].dtype}")
    item = Population(est, spectrograms())[0]
    print(f"  all cells of {item['stim_id']}: {tuple(item['response'].shape)}")


def picture() -> None:
    title("a picture: builders plot wingert2026 record --config CLT027c")
    val = load_dataset(CORPUS, "CLT027c", split="val")
    row, path = plots.typical_record(val), Path(os.environ.get("FIGURES", ".")) / "record.png"
    figure = plots.record(val, spectrograms(), row, frequencies=(200, 20_000))
    plots.save(figure, path)
    print(f"  {path}")


def spectrograms() -> Dataset:
    """Those of one session; ``load_dataset(CORPUS, "stimuli")`` is all of them."""
    url = "corpus://wingert2026/stimuli/CLT027c/*.parquet"
    return load_dataset("parquet", data_files=url, split="train")


def populations() -> None:
    title('cells: load_dataset("./nat4", "cells")')
    table = load_dataset(NAT4, "cells", split="cells")
    for area in ("A1", "PEG"):
        rows = [row for row in table if row["area"] == area]
        print(f"  {area}: {len(rows)} cells of {len({row['site'] for row in rows})} sites")
        for column in ("auditory", "val_match"):
            counts = Counter(str(row[column]) for row in rows)
            print(f"    {column:9}", "  ".join(f"{value} {n}" for value, n in counts.most_common()))


def trials() -> None:
    title('records: load_dataset("./nat4", "A1-auditory").with_format("torch")')
    records = load_dataset(NAT4, "A1-auditory").with_format("torch")
    for subset, rows in records.items():
        print(
            f"  {subset}: {len(rows)} records of {stimuli(rows)} stimuli, "
            f"{len(rows.unique('cell_id'))} cells; response {tuple(rows[0]['response'].shape)}"
        )


def stimuli(rows: Dataset) -> int:
    return len(rows.unique("stim_id"))


if __name__ == "__main__":
    main()
