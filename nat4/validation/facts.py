"""Published facts about nat4, and how to measure them in a release."""

from __future__ import annotations

import csv
from collections import Counter
from functools import partial
from importlib.resources import files

from builders.conventions import RESPONSE, of_subset
from builders.release.local import Release
from builders.validation.facts import declare
from nat4.population import match_cells, read_area

PAPER = "Pennington & David 2023, doi:10.1371/journal.pcbi.1011110"
RECORD = "doi:10.5281/zenodo.8044773"


def count_lists(release: Release, name: str) -> dict[str, object]:
    """Facts from an area's cell list; opens nothing else."""
    area = read_area(release, name)
    with (files("nat4") / "sites.csv").open(encoding="utf-8") as file:
        sites = {row["siteid"] for row in csv.DictReader(file) if row["area"] == name}
    return {
        f"{name} auditory cells": sum(map(bool, area.listed["sig_auditory"].to_pylist())),
        f"{name} sites": len(area.sites),
        f"{name} sites with a published id": len(sites.intersection(area.sites)),
    }


def count_archives(release: Release, name: str) -> dict[str, object]:
    """How many archives an area's sites have; opens none."""
    return {f"{name} site recordings": len(read_area(release, name).site_archives())}


def count_area(release: Release, name: str) -> dict[str, object]:
    """Facts from an area's recordings, also for ``builders info``; opens all of them."""
    area = read_area(release, name)
    cells, population = area.cells(), area.signal(RESPONSE)
    stimuli = population.stimuli()
    est, val = (of_subset(stimuli, subset) for subset in ("est", "val"))
    of_sites = {site: area.responses(site, data=False) for site in area.sites}
    how: Counter[str] = Counter()
    for site, responses in of_sites.items():
        held = sorted({cell for each in responses for cell in each.known_cells()})
        matches = match_cells(area.of_site(site)["cell_id"].to_pylist(), held)
        how.update(way for _, way in matches.values())
    auditory = Counter(cells["auditory"].to_pylist())
    absent = {
        site: sorted(set(val).difference(*(each.stimuli() for each in responses)))
        for site, responses in of_sites.items()
    }
    n_trials = {
        len(response.trials(stim))
        for responses in of_sites.values()
        for response in responses
        for stim in of_subset(response.stimuli(), "val")
    }
    n_bins = {n for stim in stimuli for n in population.trials(stim).n_bins.tolist()}
    return {
        f"{name} cells": len(cells),
        f"{name} cells that are auditory, are not, are not said to be": (
            f"{auditory[True]}, {auditory[False]}, {auditory[None]}"
        ),
        f"{name} estimation and validation sounds": f"{len(est)} and {len(val)}",
        f"{name} bins of a sound": ", ".join(map(str, sorted(n_bins))),
        f"{name} presentations of a validation sound": ", ".join(map(str, sorted(n_trials))),
        f"{name} cells found in the site files by their exact id": how["exact"],
        f"{name} cells whose exact id no site file has": len(cells) - how["exact"],
        f"{name} cells found by site, electrode and unit number": how["number"],
        f"{name} cells without validation data": len(cells) - how.total(),
        **{
            f"{name} validation sounds that {site} was not presented": ", ".join(names)
            for site, names in absent.items()
            if names
        },
    }


FACTS = [
    *declare(
        "A1_pred_correlation.csv",
        partial(count_lists, name="A1"),
        f"{PAPER}; {RECORD}",
        {"A1 auditory cells": 777, "A1 sites": 22, "A1 sites with a published id": 22},
    ),
    *declare(
        "PEG_pred_correlation.csv",
        partial(count_lists, name="PEG"),
        f"{PAPER}; {RECORD}",
        {"PEG auditory cells": 339, "PEG sites": 11, "PEG sites with a published id": 11},
    ),
    *declare(
        "the list of A1_single_sites",
        partial(count_archives, name="A1"),
        RECORD,
        {"A1 site recordings": 22},
    ),
    *declare(
        "the list of PEG_single_sites",
        partial(count_archives, name="PEG"),
        RECORD,
        {"PEG site recordings": 12},
    ),
    *declare(
        "all recordings of A1",
        partial(count_area, name="A1"),
        f"{PAPER}; {RECORD}",
        {
            "A1 cells": 849,
            "A1 estimation and validation sounds": "575 and 18",
            "A1 bins of a sound": "150",
            "A1 presentations of a validation sound": "20",
            "A1 cells whose exact id no site file has": 33,
        },
    ),
    *declare(
        "all recordings of PEG",
        partial(count_area, name="PEG"),
        f"{PAPER}; {RECORD}",
        {
            "PEG cells": 398,
            "PEG estimation and validation sounds": "575 and 18",
            "PEG bins of a sound": "150",
            "PEG presentations of a validation sound": "20",
        },
    ),
]
