"""The cell list of a synthetic wingert2026 release: published ids, counts and formats.

`cells.csv` and `sites.csv` are the published cell and site ids; the counts are from Wingert et al.,
Nat Neurosci 2026, and its ``cell_list.csv``.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping
from importlib.abc import Traversable
from importlib.resources import files
from pathlib import Path

import numpy as np

from builders.conventions import session_of
from builders.synthetic.files import generator
from builders.synthetic.lists import deal, printed_waveform, write_rows

# Numbers of cells by area, for sites with cells outside the area stated in `sites.csv`.
MIXED_SITES: list[tuple[tuple[str, ...], dict[str, int]]] = [
    (("LMD037a", "PRN008a"), {"A1": 113, "AC": 169}),
    (("PRN045b",), {"HC": 37, "AC": 10}),
    (("PRN068a",), {"A1": 2, "PEG": 101}),
    (("LMD048a",), {"A1": 1, "PEG": 120}),
]
CORTEX_LAYERS = {"56": 1084, "44": 744, "13": 1046}  # A1 and PEG, 2874 cells
OTHER_LAYERS = {"AC": ("3d1d", "4d4d", "6d5d", "6d"), "HC": ("6d5d", "6d")}
NARROW, GOOD = {True: 477, False: 2397}, {True: 2337, False: 537}
DEPTHS = {  # um below the layer 3/4 border
    "13": (-800, 0), "44": (0, 220), "56": (220, 1000),
    "3d1d": (-800, 0), "4d4d": (0, 220), "6d5d": (220, 900), "6d": (900, 1300),
}  # fmt: skip
CELL_TYPES = {"RS": 1.0, "RD": 3.0, "NS": 0.0, "ND": 2.0}
KNOWN_AREAS = {"PRN045b-130-1": "HC", "PRN008a-158-1": "AC", "PRN008a-159-1": "A1"}
KNOWN_LAYERS = {
    "PRN008a-159-1": "56", "CLT052d-016-1": "56", "LMD014a-A-348-1": "44",
    "LMD014a-A-356-1": "44", "CLT048c-050-1": "13", "LMD019a-A-344-1": "13",
    "PRN065a-342-1": "13", "SLJ032a-B-282-1": "13",
    "PRN045b-130-1": "6d", "PRN008a-158-1": "6d5d",
}  # fmt: skip


def write_cell_list(path: Path, sessions: Collection[str], seed: int) -> None:
    """Write the rows of `cell_list` that belong to `sessions`, in the published format."""
    write_rows(path, list(cell_list(seed, sessions)))


def cell_list(seed: int, sessions: Collection[str] | None = None) -> Iterator[dict[str, object]]:
    """The rows of ``cell_list.csv``, in published order.

    Parameters
    ----------
    seed : int
    sessions : collection of str, optional
        Sessions whose cells to list, all by default; a cell's row is the same in both cases.

    Yields
    ------
    dict of str to object
        The 30 published columns: ``depth`` in um, ``sw`` in ms, ``mwf`` the text of 100 points.
    """
    sites = dict(published_cells())
    rng = generator(seed, "cell list")
    areas = _areas(rng, sites)
    cortex = [cell for cell, area in areas.items() if area in ("A1", "PEG")]
    other = [cell for cell, area in areas.items() if area not in ("A1", "PEG")]
    layers = KNOWN_LAYERS | deal(rng, cortex, CORTEX_LAYERS, KNOWN_LAYERS)
    narrow, good = deal(rng, cortex, NARROW), deal(rng, cortex, GOOD)
    narrow |= dict(zip(other, (rng.random(len(other)) < 0.17).tolist(), strict=True))
    good |= dict(zip(other, (rng.random(len(other)) < 0.8).tolist(), strict=True))
    for cell, site in sites.items():
        if sessions is not None and session_of(cell) not in sessions:
            continue
        rng = generator(seed, "cell", cell)
        score = float(rng.uniform(0.1, 0.75) if good[cell] else rng.uniform(-0.02, 0.1))
        cnn = score * rng.uniform(0.95, 1.1)
        linear, ceiling = cnn * rng.uniform(0.6, 0.95), 1 + (1 - score) * rng.uniform(0.05, 0.4)
        dimensions = np.clip(np.cumsum(rng.integers(2, 7, 4)), 1, 25).tolist()
        row: dict[str, object] = {
            "cellid": cell,
            "CNN32-bsg": round(cnn, 10),
            "LN32": round(linear, 10),
            "sspredxc": round(score, 10),
            "goodpred": good[cell],
            "improve": 0.4 * (1 - linear / cnn),
            "CNN32-bsg_ceil": round(cnn * ceiling, 10),
            "LN32_ceil": round(linear * ceiling, 10),
            "sspredxc_ceil": score * ceiling,
            "goodpred_ceil": good[cell],
            "siteid": site,
            **dict(zip(("0.8", "0.9", "0.95", "0.99"), dimensions, strict=True)),
            "sspredxc0": score * rng.uniform(0.95, 1.05),
            "spont_mean": float(rng.lognormal(-5, 1)),
            "evoked_mean": float(rng.lognormal(-5, 1) - 0.002),
        }
        yield row | _anatomy(rng, cell, areas[cell], layers.get(cell, ""), narrow[cell])


def _anatomy(
    rng: np.random.Generator, cell: str, area: str, layer: str, narrow: bool
) -> dict[str, object]:
    """The last 12 columns of a row; all empty for a cell without area."""
    layer = layer or str(rng.choice(OTHER_LAYERS.get(area, ("",))))
    superficial = layer in ("13", "3d1d")
    width = int(rng.integers(7, 13) if narrow else rng.integers(13, 31))  # samples of 0.027 ms
    cell_type = ("N" if narrow else "R") + ("S" if superficial else "D")
    row: dict[str, object] = {
        "siteid_2": session_of(cell),
        "probechannel": int(cell.split("-")[-2]),
        "layer": layer,
        "depth": int(rng.integers(*DEPTHS[layer])) if area else "",
        "area": area,
        "iso": str(rng.choice(["0", "95.0", "100.0", str(round(rng.uniform(0, 95), 4))])),
        "sw": width * 0.027,
        "mwf": printed_waveform(rng, width) if area else "",
        "narrow": narrow,
        "superficial": superficial,
        "sorted_class": CELL_TYPES[cell_type],
        "celltype": cell_type,
    }
    return row if area else dict.fromkeys(row, "")


def _areas(rng: np.random.Generator, sites: Mapping[str, str]) -> dict[str, str]:
    """The area of each cell; "" if it has none."""
    with _table("sites.csv").open(encoding="utf-8") as file:
        seen = {row["siteid"]: row["area_seen"] for row in csv.DictReader(file)}
    areas = {cell: seen[site].replace("none", "") for cell, site in sites.items()}
    for mixed, counts in MIXED_SITES:
        members = [cell for cell, site in sites.items() if site in mixed]
        areas |= deal(rng, members, counts, KNOWN_AREAS)
    return areas


def published_cells() -> list[tuple[str, str]]:
    """Cell id and site id of every published cell, in published order."""
    with _table("cells.csv").open(encoding="utf-8") as file:
        return [(row["cellid"], row["siteid"]) for row in csv.DictReader(file)]


def _table(name: str) -> Traversable:
    return files("wingert2026") / name
