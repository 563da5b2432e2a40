"""The plan of a synthetic espejo2019 release: counts as published; names and values made up.

A few names are published: the sites with rasterized responses, and examples of cell ids.
"""

from __future__ import annotations

from builders.corpus.builder import Scale
from builders.synthetic.files import generator
from builders.synthetic.recordings import PlannedArchive

#: Published numbers of sites and cells of each set.
COUNTS = {"NAT": (35, 540), "VMN": (103, 200)}
FOLDERS = {"NAT": "A1_natural_sounds", "VMN": "A1_voc_mod_noise"}
RASTERIZED = ("chn002h", "eno023c", "eno028f")
#: The sites of `mini`; they come first in `full`.
MINI = {
    "NAT": ("AMT003c", "AMT004c", "BOL005c"),
    "VMN": ("btn144a", "chn002h", "eno023c", "por012c", "zee019b", "eno028f"),
}
#: Sites whose cells are in two archives.
JOINED = ("por012c", "por013c")


def archives(scale: Scale, seed: int) -> list[PlannedArchive]:
    """The archives of a release; a joined site has two, of different presentations."""
    planned: list[PlannedArchive] = []
    for name, (n_sites, n_cells) in COUNTS.items():
        sites = list(MINI[name])
        if scale == "full":
            more = [f"{'por' if i < 16 else 'AMT'}{i:03d}c" for i in range(13, 13 + n_sites)]
            sites = [*sites, *more][:n_sites]
        for number, site in enumerate(sites):
            n = n_cells * (number + 1) // n_sites - n_cells * number // n_sites
            parts = ("a", "b") if site in JOINED else ("",)
            for part in parts:
                planned.append(_archive(name, site, part, max(n, 1), len(planned), scale, seed))
    return planned


def _archive(
    name: str, site: str, part: str, n_cells: int, position: int, scale: Scale, seed: int
) -> PlannedArchive:
    rng = generator(seed, "stimuli", site, part)
    if name == "VMN":  # 30 stimuli out of 75: 28 with 2-5 trials, 2 with 10-30
        names = [f"STIM_BNB+si{400 + i}+si{1800 + i}" for i in range(75)]
        chosen = rng.choice(names, 30, replace=False).tolist()
        counts = [*rng.integers(2, 6, 28).tolist(), *rng.integers(10, 31, 2).tolist()]
        n_bins = 400
    else:
        n = 12 if scale == "mini" else 90
        names = [f"STIM_00cat{i}_rec1_sound{i}" for i in range(686)]
        chosen = rng.choice(names, n, replace=False).tolist()
        rare = site.startswith("BOL")  # all are presented equally often
        counts = [2] * n if rare else [*[1] * (n - 3), *[20] * 3]
        n_bins = (550, 500, 400)[position % 3]
    lettered = site.startswith(("btn", "zee"))
    units = [f"{chr(97 + i)}1" if lettered else f"{i + 1:02d}-1" for i in range(n_cells)]
    return PlannedArchive(
        site,
        site,
        position,
        tuple(f"{site}-{unit}" for unit in units),
        dict(zip(chosen, counts, strict=True)),
        n_bins,
        n_bands=18 if name == "NAT" else 2,
        compressible=scale == "mini",
        folder=FOLDERS[name],
        recording=site + part,
        silence=0.5,
        is_rasterized=site in RASTERIZED,
    )
