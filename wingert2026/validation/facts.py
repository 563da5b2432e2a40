"""Published facts about wingert2026, and how to measure them in a release."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from functools import partial
from importlib.resources import files

import pyarrow as pa
import pyarrow.compute as pc
from datasets.utils import tqdm

from builders.conventions import RESPONSE, of_subset
from builders.errors import CorpusError
from builders.families.nems import NemsCorpus
from builders.nems.sessions import no_archive, read_session
from builders.nems.signal import Signal
from builders.release.local import Release
from builders.shards.listed import UNLABELED
from builders.validation.facts import Fact, declare

PAPER = "Wingert et al. 2026, doi:10.1038/s41593-026-02216-0"
RECORD = "doi:10.5281/zenodo.18331549"
LIST, RECORDINGS = f"cell_list.csv of {RECORD}", f"recordings.zip of {RECORD}"

LAYERS = ("13", "44", "56")
#: Sites whose areas are checked, and sites whose numbers of cells are checked.
AREAS_OF = ("LMD037a", "PRN008a", "SLJ032a", "SLJ032a-B")
CELLS_OF = ("CLT027c", "CLT028c", "SLJ032a", "SLJ032a-B", "PRN056a", "LMD037a")


def count_details(corpus: type[NemsCorpus], release: Release) -> dict[str, object]:
    """More facts from ``cell_list.csv``; opens no other file."""
    columns = ["cell_id", "site", "session", "area", "layer", "narrow", "goodpred"]
    cells = corpus.read_list(release).table.select(columns).to_pylist()
    cohort = [cell for cell in cells if cell["area"] in ("A1", "PEG")]
    layers = Counter(cell["layer"] for cell in cohort)
    good = sum(bool(cell["goodpred"]) for cell in cohort)
    sites = Counter(cell["site"] for cell in cells)
    ids = {row["cellid"] for row in _published("cells.csv")}
    sizes = list(sites.values()) or [0]
    return {
        "cells with a published id": sum(cell["cell_id"] in ids for cell in cells),
        "sites with their published number of cells": sum(
            sites[row["siteid"]] == int(row["cells"]) for row in _published("sites.csv")
        ),
        "cells in A1+PEG": len(cohort),
        **{f"cells in A1+PEG, layer {layer}": layers[layer] for layer in LAYERS},
        "cells in A1+PEG, narrow": sum(bool(cell["narrow"]) for cell in cohort),
        "cells in A1+PEG, goodpred": f"{good / max(len(cohort), 1):.1%}",
        "sessions with A1 cells": len({cell["session"] for cell in cells if cell["area"] == "A1"}),
        "sessions with an area": len({cell["session"] for cell in cells if cell["area"]}),
        "sessions without area": _texts(cell["session"] for cell in cells if not cell["area"]),
        **{
            f"areas of {site}": _texts(cell["area"] for cell in cells if cell["site"] == site)
            for site in AREAS_OF
        },
        **{f"cells of {site}": sites[site] for site in CELLS_OF},
        "fewest and most cells of a site": _texts([min(sizes), max(sizes)]),
    }


def count_records(
    corpus: type[NemsCorpus], release: Release, sessions: tuple[str, ...]
) -> dict[str, object]:
    """Facts from the recordings of some sessions; opens no other archive.

    A record is a pair of a cell and a stimulus of the same session. There are no data for a cell
    and a stimulus of different sessions.
    """
    cells = corpus.read_list(release).table
    held, stimuli, records = 0, 0, 0
    trials: dict[str, set[int]] = {"est": set(), "val": set()}
    n_bins: set[int] = set()
    subsets = Counter[str]()
    for session in sessions:
        responses = _responses(release, cells, session)
        response = responses[0]
        listed = cells.filter(pc.equal(cells["session"], session))["cell_id"].to_pylist()
        in_archive = len({cell for each in responses for cell in each.known_cells()} & {*listed})
        for subset, of_sounds in trials.items():
            names = of_subset(response.stimuli(), subset)
            subsets[subset] += len(names)
            of_sounds |= {len(response.trials(stim).onsets) for stim in names}
        held, stimuli = held + in_archive, stimuli + len(response.stimuli())
        records += in_archive * len(response.stimuli())
        n_bins.add(_n_bins(response))
    name = " and ".join(sessions)
    return {
        f"stimuli of {name}": stimuli,
        **{f"{subset} stimuli of {name}": n for subset, n in subsets.items()},
        **{f"presentations of {name}'s {each}": _texts(ns) for each, ns in trials.items()},
        f"bins of {name}": _texts(n_bins),
        f"records of {name}": records,
        f"pairs of {name} that do not exist": held * stimuli - records,
    }


def count_cohorts(corpus: type[NemsCorpus], release: Release) -> dict[str, object]:
    """Facts from the recordings of all sessions; opens all archives."""
    cells = corpus.read_list(release).table
    sessions = cells["session"].unique().to_pylist()
    length = {
        session: _n_bins(_responses(release, cells, session)[0])
        for session in tqdm(sessions, desc="Lengths of recordings", leave=False, delay=2)
    }
    of_site = dict(zip(cells["site"].to_pylist(), cells["session"].to_pylist(), strict=True))
    cohorts = Counter(length[session] for session in of_site.values())
    return {
        "sessions with a recording": len(length),
        **{f"sites with {n_bins} bins": n_sites for n_bins, n_sites in cohorts.items()},
    }


def _responses(release: Release, cells: pa.Table, session: str) -> list[Signal]:
    """The response signals of a session's recordings, without their spikes."""
    listed = cells["session"].unique().to_pylist()
    archives = release.archives("recordings")
    found = read_session(archives, session, listed, RESPONSE, data=False)
    if not found:
        raise CorpusError(f"no recording of {session}", why=no_archive(session, archives))
    return found


def _n_bins(response: Signal) -> int:
    """The most common trial length; others differ by 1, if an onset is halfway between bins."""
    lengths = Counter(
        n for stim in response.stimuli() for n in response.trials(stim).n_bins.tolist()
    )
    return lengths.most_common(1)[0][0] if lengths else 0


def _published(name: str) -> list[dict[str, str]]:
    with (files("wingert2026") / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _texts(values: Iterable[str | int | None]) -> str:
    """The distinct values as sorted text, separated by commas."""
    return ", ".join(map(str, sorted(set(values), key=lambda value: f"{value!s:0>9}")))


def facts(corpus: type[NemsCorpus]) -> list[Fact]:
    """The published facts, each with its source."""
    details, records = partial(count_details, corpus), partial(count_records, corpus)
    return [
        *declare(
            "cell_list.csv",
            corpus.count_cells,
            LIST,
            {
                "cells": 3259,
                "cells in A1": 2128,
                "cells in PEG": 746,
                "cells in AC": 217,
                "cells in HC": 37,
                f"cells in {UNLABELED}": 131,
                "sites": 68,
                "sessions": 67,
            },
        ),
        *declare(
            "cell_list.csv",
            details,
            LIST,
            {
                "cells with a published id": 3259,
                "sites with their published number of cells": 68,
                "sessions with an area": 64,
                "sessions with A1 cells": 50,
                "sessions without area": "PRN010b, PRN011b, PRN020b",
                "areas of LMD037a": "A1, AC",
                "areas of PRN008a": "A1, AC",
                "areas of SLJ032a": "PEG",
                "areas of SLJ032a-B": "PEG",
                "cells of CLT027c": 20,
                "cells of CLT028c": 57,
                "cells of SLJ032a": 76,
                "cells of SLJ032a-B": 47,
                "cells of PRN056a": 3,
                "cells of LMD037a": 248,
                "fewest and most cells of a site": "3, 248",
            },
        ),
        *declare(
            "cell_list.csv",
            details,
            f"{PAPER}; {LIST}",
            {
                "cells in A1+PEG": 2874,
                "cells in A1+PEG, layer 13": 1046,
                "cells in A1+PEG, layer 44": 744,
                "cells in A1+PEG, layer 56": 1084,
                "cells in A1+PEG, narrow": 477,
                "cells in A1+PEG, goodpred": "81.3%",
            },
        ),
        *declare(
            "the recording of CLT027c",
            partial(records, sessions=("CLT027c",)),
            RECORDINGS,
            {
                "stimuli of CLT027c": 11,
                "est stimuli of CLT027c": 9,
                "val stimuli of CLT027c": 2,
                "presentations of CLT027c's val": "1, 2",
                "bins of CLT027c": "2200",
                "records of CLT027c": 220,
            },
        ),
        *declare(
            "the recording of CLT028c",
            partial(records, sessions=("CLT028c",)),
            RECORDINGS,
            {"stimuli of CLT028c": 106, "records of CLT028c": 6042},
        ),
        *declare(
            "the recordings of CLT027c and CLT028c",
            partial(records, sessions=("CLT027c", "CLT028c")),
            RECORDINGS,
            {
                "stimuli of CLT027c and CLT028c": 117,
                "records of CLT027c and CLT028c": 6262,
                "pairs of CLT027c and CLT028c that do not exist": 2747,
            },
        ),
        *declare(
            "the recording of SLJ032a",
            partial(records, sessions=("SLJ032a",)),
            RECORDINGS,
            {"stimuli of SLJ032a": 56},
        ),
        *declare(
            "all recordings",
            partial(count_cohorts, corpus),
            RECORDINGS,
            {
                "sessions with a recording": 67,
                "sites with 2000 bins": 47,
                "sites with 2200 bins": 21,
            },
        ),
    ]
