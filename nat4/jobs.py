"""nat4's passes over its raw files, each of which writes some shards."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features, Value
from numpy.typing import NDArray

from builders import schema
from builders.binning import Trials
from builders.epochs import STIM
from builders.errors import CorpusError, spoiling
from builders.excluded import of_session, read_excluded
from builders.jobs import left_out
from builders.members import broken
from builders.nems import Signal
from builders.notes import Note, Notes
from builders.records import record_tables
from builders.release import Archive
from builders.schema import CELL_ID, SUBSETS, matrices, of_subset, subset_of, table
from builders.sessions import candidates, no_archive
from builders.shards import Job
from builders.spikes import AddNote, Spikes, bin_width, trial_notes
from builders.spool import RasterSpool
from nat4.population import PUBLISHED, Area, column_type, list_name, match_cells, typed_column

CORPUS = "nat4"
AUDITORY = {"auditory": Value("bool")}
MATCH = {"has_val": Value("bool"), "val_match": Value("string")}
RECORDS = Features({**schema.RECORDS, **AUDITORY})
STIMULI = Features(schema.STIMULI)
BANDS = 18


def _columns(stim: str) -> dict[str, str]:
    return {"stim_id": stim, "stim": stim, "subset": subset_of(stim)}


def est_job(area: Area) -> Job:
    """All sites' estimation records, in one pass over the population recording."""
    shards = {site: f"data/{area.name}/{site}/est.parquet" for site in area.sites}
    excluded = read_excluded(CORPUS)

    def tables(notes: Notes) -> dict[str, Iterator[pa.Table]]:
        response = area.signal("resp", data=True)
        if bin_width(response) != 1:
            raise broken(response.archive, response.member, f"fs is {response.fs:g}, expected 100")
        cells = {site: _without(area.of_site(site), excluded) for site in shards}
        rows = {cell: row for row, cell in enumerate(response.channels)}
        spool = RasterSpool(
            {site: [rows[cell] for cell in of["cell_id"].to_pylist()] for site, of in cells.items()}
        )
        stimuli = of_subset(response.stimuli(), "est")
        found = [*area.notes, *area.cell_notes(), *_excluded_notes(area, stimuli, excluded)]
        found += _read_windows(response, [s for s in stimuli if s not in excluded], spool)
        found += _partial_notes(area, response, spool)
        for site, path in shards.items():
            for note in found:
                if note.session in ("", site):
                    notes.add(path, note)

        def of_shard(site: str) -> Iterator[pa.Table]:
            area.known.checked(site, excluded)
            yield from spool.tables(site, cells[site], _columns, RECORDS)

        return {path: of_shard(site) for site, path in shards.items()}

    facts = cache(lambda: json.dumps([area.listed.select(list(PUBLISHED)).to_pylist(), excluded]))
    paths = tuple(shards.values())
    return Job(f"{area.name}-est", paths, RECORDS, lambda: [area.archive()], facts, tables)


def _without(cells: pa.Table, excluded: Collection[str]) -> pa.Table:
    return cells.filter(pa.array([cell not in excluded for cell in cells["cell_id"].to_pylist()]))


def _excluded_notes(area: Area, stimuli: list[str], excluded: dict[str, str]) -> list[Note]:
    cells = area.cells()["cell_id"].to_pylist()
    return [
        Note(unit.partition("-")[0] if unit in cells else "", unit, left_out(why))
        for unit, why in excluded.items()
        if unit in cells or unit in stimuli
    ]


def _read_windows(response: Signal, stimuli: list[str], spool: RasterSpool) -> list[Note]:
    """Put the windows of some stimuli into the spool; what is to be noted of them.

    A sound that stands in the table several times has a window, and so a trial, for each.
    """
    lengths: dict[str, list[int]] = {stim: [] for stim in stimuli}
    of_stimuli = _trials(response, stimuli)
    for stim, values in response.windows(stimuli):
        if len(values) != (n_cells := len(response.channels)):
            why = f"it has {len(values)} columns, and the population {n_cells} cells"
            raise broken(response.archive, response.member, why)
        spool.add(stim, values)
        lengths[stim].append(values.shape[1])
    notes = []
    for stim, trials in of_stimuli.items():
        texts = list(trial_notes(trials))
        if len(trials) > 1:
            texts.append(f"the population has it {len(trials)} times: so many trials")
        if lengths[stim] != trials.n_bins.tolist():
            texts.append("the population's data end before it does: it is cut there")
        notes += [Note("", stim, text) for text in texts]
    return notes


def _trials(signal: Signal, stimuli: list[str]) -> dict[str, Trials]:
    """The trials of some stimuli of a population.

    Raises
    ------
    CorpusError
        If those of one of them cannot be told; it says of which.
    """
    found = {}
    for stim in stimuli:
        with spoiling(stim):
            found[stim] = signal.trials(stim)
    return found


def _partial_notes(area: Area, response: Signal, spool: RasterSpool) -> Iterator[Note]:
    """Traces that are missing in part.

    Where `mask_est` leaves out all that is missing, the trace is no trial: it was never meant to be
    fitted. Any other is kept as it is stored.
    """
    if not spool.partial:
        return
    masks = _masks(area, sorted({stim for stim, _ in spool.partial}))
    for (stim, trial), missing in spool.partial.items():
        in_part = missing.any(axis=1) & ~missing.all(axis=1)
        mask = masks.get((stim, trial))
        is_left_out = np.zeros(len(missing), bool)
        if mask is not None and mask.shape in (missing.shape, missing[:1].shape):
            is_left_out = in_part & ~(missing & (mask != 0)).any(axis=1)
        spool.drop(stim, trial, is_left_out)
        for row in np.flatnonzero(in_part):
            cell = response.channels[row]
            text = "values are missing in a part of it"
            how = "no trial, as mask_est leaves it out" if is_left_out[row] else "kept as stored"
            yield Note(cell.partition("-")[0], cell, f"{stim}: {text}; {how}")


def _masks(area: Area, stimuli: list[str]) -> dict[tuple[str, int], NDArray[np.float32]]:
    """`mask_est` in each window of some stimuli; nothing where it cannot be read."""
    found: dict[tuple[str, int], NDArray[np.float32]] = {}
    counts = dict.fromkeys(stimuli, 0)
    with suppress(CorpusError):
        for stim, mask in area.signal("mask_est", data=True).windows(stimuli):
            found[stim, counts[stim]] = mask
            counts[stim] += 1
    return found


def val_job(area: Area, site: str) -> Job:
    """A site's validation records, from its own recordings."""
    path = f"data/{area.name}/{site}/val.parquet"
    excluded = read_excluded(CORPUS)
    of_site = of_session(excluded, site)
    of_site |= {unit: why for unit, why in excluded.items() if unit.startswith(STIM)}

    def tables(notes: Notes) -> dict[str, Iterable[pa.Table]]:
        def add(subject: str, text: str) -> None:
            notes.add(path, Note(site, subject, text))

        area.known.checked(site, excluded)
        if site in excluded:
            add("", left_out(excluded[site]))
            return {path: []}
        responses = area.responses(site)
        if not responses:
            add("", f"no validation data: {no_archive(site, area.site_archives())}")
            return {path: []}
        cells = area.of_site(site)
        channels = _in_recordings(cells["cell_id"].to_pylist(), responses, add)
        held = _without(cells, {*excluded, *set(cells["cell_id"].to_pylist()).difference(channels)})
        spikes = Spikes(responses, {cell: channels[cell] for cell in held["cell_id"].to_pylist()})
        stimuli = of_subset(spikes.stimuli(), "val")
        for note in [*area.notes, *_excluded_notes(area, stimuli, of_site)]:
            if note.session in ("", site):
                notes.add(path, note)
        kept = [stim for stim in stimuli if stim not in excluded]
        return {path: record_tables(spikes, held, kept, _columns, RECORDS, add)}

    def archives() -> list[Archive]:
        if site in excluded:
            return [area.archive()]
        return [area.archive(), *candidates(area.site_archives(), site, area.sites).first]

    @cache
    def facts() -> str:
        in_site = pc.starts_with(area.listed["cellid"], f"{site}-")
        listed = area.listed.filter(in_site).select(list(PUBLISHED)).to_pylist()
        return json.dumps([listed, of_site])

    name = f"{area.name}-{site}-val"
    return Job(name, (path,), RECORDS, archives, facts, tables, site)


def _in_recordings(
    cells: list[str], responses: Sequence[Signal], add: AddNote
) -> dict[str, list[tuple[int, str]]]:
    """Which of a site's recordings hold a cell of the population, and under which name."""
    held = sorted({cell for each in responses for cell in each.cells})
    found = match_cells(cells, held)
    for cell, (name, how) in found.items():
        if how == "number":
            add(cell, f"matched by number: {name} in the site's recording")
    for cell in cells:
        if cell not in found:
            add(cell, "no validation data: the site's recording does not hold it")
    for cell in set(held).difference(name for name, _ in found.values()):
        add(cell, "the site's recording holds it, but the population does not")
    return {
        cell: [(number, name) for number, each in enumerate(responses) if name in each.cells]
        for cell, (name, _) in found.items()
    }


def absent_job(name: str, sites: list[str]) -> Job:
    """The shards of an area whose list of cells is not in the release: they have no rows."""
    paths = tuple(f"data/{name}/{site}/{subset}.parquet" for site in sites for subset in SUBSETS)

    def tables(notes: Notes) -> dict[str, list[pa.Table]]:
        for path in paths:
            notes.add(path, Note("", name, f"the release lacks {list_name(name)}"))
        return {path: [] for path in paths}

    return Job(f"{name}-absent", paths, RECORDS, list, str, tables)


def cells_job(areas: list[Area]) -> Job:
    """The cells of all populations, with all columns of the lists and how they were matched."""
    published = [area.published() for area in areas]
    names = list(dict.fromkeys(name for each in published for name in each.column_names))
    types = {
        name: column_type([each[name] for each in published if name in each.column_names])
        for name in names
    }
    others = Features.from_arrow_schema(pa.schema(types.items()))
    features = Features({**CELL_ID, **AUDITORY, **MATCH, **others})
    path = "cells.parquet"
    excluded = read_excluded(CORPUS)

    def of_areas(notes: Notes) -> Iterator[pa.Table]:
        for area, listed in zip(areas, published, strict=True):
            for each in (area.known, area.every):
                each.checked(excluded=excluded)
            for note in [*area.notes, *area.cell_notes()]:
                notes.add(path, note)
            matches: dict[str, tuple[bool | None, str | None]] = {}
            for site in area.sites:
                of_site, text = _matches(area, site, excluded)
                matches |= of_site
                if text:
                    notes.add(path, Note(site, "", text))
            cells = area.cells()
            how = [matches.get(cell, (False, None)) for cell in cells["cell_id"].to_pylist()]
            columns = dict(zip(cells.column_names, cells, strict=True))
            rows = listed.take(area.rows(cells["cell_id"].to_pylist()))
            columns |= {name: [None] * len(cells) for name in names}
            columns |= {name: typed_column(rows[name], types[name]) for name in rows.column_names}
            columns |= {"has_val": [has for has, _ in how], "val_match": [way for _, way in how]}
            yield table(columns, features)

    def archives() -> list[Archive]:
        return [archive for area in areas for archive in (area.archive(), *area.site_archives())]

    facts = cache(lambda: json.dumps([[area.texts.to_pylist() for area in areas], excluded]))
    return Job("cells", (path,), features, archives, facts, lambda notes: {path: of_areas(notes)})


def _matches(
    area: Area, site: str, excluded: dict[str, str]
) -> tuple[dict[str, tuple[bool | None, str | None]], str]:
    """Of each cell of a site, whether it has validation data, and how it was matched; and a note.

    Of a recording that cannot be read nobody knows.
    """
    cells = area.of_site(site)["cell_id"].to_pylist()
    if site in excluded:
        return {}, left_out(excluded[site])
    try:
        responses = area.responses(site, data=False)
    except CorpusError as error:
        text = f"its recording cannot be read, so has_val is null: {error.why}"
        return dict.fromkeys(cells, (None, None)), text
    if not responses:
        return {}, f"no validation data: {no_archive(site, area.site_archives())}"
    held = sorted({cell for each in responses for cell in each.known_cells()})
    return {cell: (True, how) for cell, (_, how) in match_cells(cells, held).items()}, ""


def stimuli_job(areas: list[Area]) -> Job:
    """Each sound once, from the first population that has it."""
    shards = {subset: f"stimuli/{subset}.parquet" for subset in SUBSETS}
    excluded = read_excluded(CORPUS)

    def tables(notes: Notes) -> dict[str, list[pa.Table]]:
        def add(stim: str, text: str) -> None:
            notes.add(shards[subset_of(stim)], Note("", stim, text))

        rows: dict[str, tuple[Area, pa.Table]] = {}
        differing: list[tuple[Area, str, int]] = []
        for area in areas:
            stimulus = area.signal("stim", data=True)
            wanted = sorted(set(stimulus.stimuli()).difference(rows))
            for stim in wanted:
                if stim in excluded:
                    add(stim, left_out(excluded[stim]))
            windows: dict[str, list[NDArray[np.float32]]] = {
                stim: [] for stim in wanted if stim not in excluded
            }
            of_stimuli = _trials(stimulus, list(windows))
            for stim, values in stimulus.windows(list(windows)):
                windows[stim].append(values)
            counted = _Counted(area, excluded)
            for stim, found in windows.items():
                if not _are_one(found):
                    differing.append((area, stim, len(found)))
                    continue
                spectrogram = _spectrogram(stimulus, stim, of_stimuli[stim], found, add)
                if spectrogram is not None:
                    is_est = subset_of(stim) == "est"
                    columns = {
                        **{key: [value] for key, value in _columns(stim).items()},
                        "session": [None],
                        "spectrogram": matrices([spectrogram]),
                        "dt_ms": [1000 / stimulus.fs],
                        "n_trials": [len(found) if is_est else counted.trials(stim)],
                    }
                    rows[stim] = area, table(columns, STIMULI)
            for note in counted.notes:
                notes.add(shards["val"], note)
        for area, stim, n in differing:
            given = f"that of {rows[stim][0].name}" if stim in rows else "none"
            add(stim, f"its {n} spectrograms in {area.name} differ: {given} is given")
        return {
            path: [rows[stim][1] for stim in of_subset(sorted(rows), subset)]
            for subset, path in shards.items()
        }

    def archives() -> list[Archive]:
        return [archive for area in areas for archive in (area.archive(), *area.site_archives())]

    facts = cache(lambda: json.dumps(excluded))
    return Job("stimuli", tuple(shards.values()), STIMULI, archives, facts, tables)


def _are_one(windows: list[NDArray[np.float32]]) -> bool:
    """Whether all windows of a stimulus have the same spectrogram."""
    return all(np.array_equal(windows[0], each, equal_nan=True) for each in windows[1:])


def _spectrogram(
    stimulus: Signal,
    stim: str,
    trials: Trials,
    windows: list[NDArray[np.float32]],
    add: AddNote,
) -> NDArray[np.float32] | None:
    """The spectrogram of a stimulus; None where no occurrence of it is left.

    Raises
    ------
    CorpusError
        If it has another number of bands.
    """
    for text in trials.left_out:
        add(stim, text)
    if not windows:
        add(stim, "it has no spectrogram: no occurrence of it is left")
        return None
    if len(windows[0]) != BANDS:
        why = f"{stim} has {len(windows[0])} bands, expected {BANDS}"
        raise broken(stimulus.archive, stimulus.member, why, stim)
    if windows[0].shape[1] < trials.n_bins[0]:
        add(stim, "the population's data end before it does: it is cut there")
    return windows[0]


class _Counted:
    """How often the validation sounds were presented: the population has but their average.

    The first site that has a sound says so.
    """

    def __init__(self, area: Area, excluded: Collection[str]) -> None:
        self.notes: list[Note] = []
        self._area = area
        self._rest = iter([site for site in area.sites if site not in excluded])
        self._read: list[Signal] = []

    def trials(self, stim: str) -> int:
        """How many trials of a stimulus there are; 0 if no site has it."""
        for response in self._responses():
            if stim in response.epochs:
                try:
                    return len(response.trials(stim))
                except CorpusError as error:
                    text = f"its trials are not counted in {response.archive.name}: {error.why}"
                    self.notes.append(Note("", stim, text))
        return 0

    def _responses(self) -> Iterator[Signal]:
        yield from self._read
        for site in self._rest:
            try:
                found = self._area.responses(site, data=False)
                for each in found:
                    each.stimuli()  # raises where there is no table of epochs
            except CorpusError as error:
                text = f"its recording cannot be read, so its trials are not counted: {error.why}"
                self.notes.append(Note(site, "", text))
                continue
            self._read += found
            yield from found
