"""The plan of a synthetic wingert2026 release: the published names, counts and quirks.

`full` has every session and about the published size: 68 archives, some 4 GB, and 4 GB of sounds.
`mini` has a few sessions that together have every peculiarity (10 archives, some 40 MB); their
cells have the same rows in the list as in `full`.

Counts, names and formats are as published (Wingert et al., Nat Neurosci 2026, and its
``cell_list.csv``); `cells.csv` and `sites.csv` are the published cell and site ids.
"""

from __future__ import annotations

import numpy as np

from builders.conventions import session_of
from builders.corpus.builder import Scale
from builders.synthetic.files import generator
from builders.synthetic.recordings import PlannedArchive
from wingert2026.synthetic.cells import published_cells

VALIDATION = [f"STIM_00seq{n}.wav" for n in "1234"] + [f"STIM_00seq{n}_hand.wav" for n in "56"]

# Numbers of estimation and validation stimuli: first of the sessions of `mini` (their order decides
# on their quirks); then of other sessions whose numbers are not random in `full`.
MINI = {
    "CLT027c": (9, 2), "CLT028c": (100, 6), "SLJ032a": (50, 6), "PRN015a": (4, 1),
    "PRN018a": (5, 2), "PRN010b": (5, 2), "CLT050c": (6, 2), "PRN045b": (5, 3), "LMD037a": (4, 2),
}  # fmt: skip
AS_PUBLISHED = {session: MINI[session] for session in ("CLT027c", "CLT028c", "SLJ032a", "PRN015a")}
LARGEST = {"CLT033c": (250, 6)}
# Names of the archives of a session, if they differ from its name.
ARCHIVES = {"PRN015a": ("PRN015b",), "PRN018a": ("PRN018a", "PRN018b")}


def archives(scale: Scale, seed: int) -> list[PlannedArchive]:
    """The archives of a release; the sessions of `mini` come first."""
    cells: dict[str, list[str]] = {}
    for cell, _ in published_cells():
        cells.setdefault(session_of(cell), []).append(cell)
    cells["PRN015a"].append("PRN015a-999-1")  # a cell that the list does not know
    cells["PRN010b"].pop()  # a cell that the list knows and no archive holds
    sessions = list(MINI) if scale == "mini" else [*MINI, *sorted(set(cells) - set(MINI))]
    named = [(each, name) for each in sessions for name in ARCHIVES.get(each, (each,))]
    return [
        PlannedArchive(
            session,
            name,
            position,
            tuple(cells[session]),
            _repetitions(session, scale, seed),
            n_bins=2200 if session.startswith("CLT") else 2000,  # two cohorts
            n_bands=32,
            compressible=scale == "mini",
            is_early=session == "CLT027c",
            overlaps=session == "CLT050c",
        )
        for position, (session, name) in enumerate(named)
    ]


def _repetitions(session: str, scale: str, seed: int) -> dict[str, int]:
    rng = generator(seed, "stimuli", session)
    n_est, n_val = int(rng.integers(100, 136)), int(rng.choice([3, 5, 6, 6, 6]))
    fixed = MINI if scale == "mini" else AS_PUBLISHED | LARGEST
    n_est, n_val = fixed.get(session, (n_est, n_val))
    names = np.arange(1, 1000 if scale == "mini" else 2000)
    numbers = np.sort(rng.choice(names, n_est, replace=False))
    repetitions = {f"STIM_seq{number:04d}.wav": 1 for number in numbers}
    if session == "LMD011a":
        repetitions[f"STIM_seq{numbers[0]:04d}.wav"] = 2
    most = 10 if scale == "mini" else 30
    counts = [1, 2] if session == "CLT027c" else rng.integers(1, most + 1, n_val).tolist()
    chosen = sorted(rng.choice(VALIDATION, n_val, replace=False).tolist())
    return repetitions | dict(zip(chosen, counts, strict=True))
