"""The family of corpora whose archives are NEMS recordings with responses and spectrograms."""

from __future__ import annotations

import csv
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from datasets import Features

from builders import conventions, schema
from builders.conventions import SUBSETS, Conventions
from builders.corpus.builder import CorpusBuilder, Scale
from builders.corpus.configs import CorpusConfig, Globs, record_globs
from builders.errors import CorpusError
from builders.files import FINGERPRINT, digest
from builders.release.archive import Archive
from builders.release.local import Release
from builders.shards import unlisted
from builders.shards.cells import WHERE, CellList, Listing, read_cells
from builders.shards.job import Job
from builders.shards.jobs import SessionJobs
from builders.shards.listed import UNLABELED, ListedSession, cells_job, places
from builders.shards.notes import Note
from builders.shards.waveforms import waveform_jobs

if TYPE_CHECKING:
    from builders.synthetic.recordings import PlannedArchive
    from builders.validation.reference import Source


#: The group of jobs that makes the cells of a release without a cell list.
CELLS = "cells"


@dataclass(frozen=True)
class Waveforms:
    """The sounds of a release, in ``wav.zip``: number of shards, and onset in the window in ms."""

    parts: int
    onset_ms: float


class NemsCorpus(CorpusBuilder):
    """A corpus of archives that each hold the signals ``resp`` and ``stim``.

    A corpus sets the class attributes below and those of `CorpusBuilder`, and implements `plan`
    (its synthetic release) and `facts`. It may override `configs`, `session_of`, `subsets` and
    `parse_cell_id`. Everything else is inherited. ``sites.csv`` in its folder, with a column
    ``siteid``, names the sites that have configs.
    """

    #: Set of archives -> the directory of the release that holds it. The records of a set stand in
    #: ``data/<set>/<site>/``. If there is one set alone, called "", they stand in
    #: ``data/<area>/<site>/``. A corpus with a cell list has one set.
    sets: ClassVar[Mapping[str, str]] = {"": "recordings"}
    #: Number of frequency bands of each set's spectrograms.
    bands: ClassVar[Mapping[str, int]]
    #: The published cell list; None if cells come from the recordings.
    cell_list: ClassVar[Listing | None] = None
    #: The areas that have configs; `UNLABELED` stands for cells without area.
    areas: ClassVar[tuple[str, ...]] = ()
    #: The area of all cells, if there is no cell list and it is known.
    area: ClassVar[str | None] = None
    #: Shards per session of each subset's spectrograms; each shard should stay below 25 MB.
    parts: ClassVar[Mapping[str, int]] = {"est": 1, "val": 1}
    #: The sounds, if the release has them.
    waveforms: ClassVar[Waveforms | None] = None
    #: Whether the names of stimuli tell their subset, or the numbers of their presentations.
    splits_by: ClassVar[Literal["name", "count"]] = "name"
    #: See `builders.conventions.Conventions`.
    joins: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.BUILDER_CONFIGS = cls.configs(cls._default_configs())

    # -- What a corpus may override ----------------------------------------------------------------

    @classmethod
    def configs(cls, default: list[CorpusConfig]) -> list[CorpusConfig]:
        """The configs; `default` are cells, areas or sets, all, subsets, stimuli and sites."""
        return default

    @classmethod
    def session_of(cls, archive: Archive) -> str:
        """The session that an archive is named after; used if there is no cell list.

        By default, what precedes the last underscore of the name.
        """
        stem = archive.name.removesuffix(".tgz")
        return stem.rpartition("_")[0] or stem

    @classmethod
    def subsets(cls, counts: Mapping[str, int]) -> dict[str, str]:
        """The subset of each stimulus of a site, whose numbers of presentations are given."""
        if cls.splits_by == "count":
            return conventions.subsets_by_count(counts)
        return conventions.subsets_by_name(counts)

    @classmethod
    def parse_cell_id(cls, cell_id: str) -> dict[str, Any]:
        """The parts of a cell id; see `builders.conventions.parse_cell_id`."""
        return conventions.parse_cell_id(cell_id)

    @classmethod
    def plan(cls, scale: Scale, seed: int) -> Sequence[PlannedArchive]:
        """The archives of a synthetic release."""
        raise NotImplementedError

    @classmethod
    def write_others(
        cls, folder: Path, planned: Sequence[PlannedArchive], seed: int
    ) -> Sequence[Callable[[], object]]:
        """Functions that write the other files of a synthetic release, such as the cell list."""
        return []

    # -- What is inherited -------------------------------------------------------------------------

    @classmethod
    def _default_configs(cls) -> list[CorpusConfig]:
        every = record_globs()
        folders = [each for each in cls.sets if each] or cls.areas
        below = "*/*" if any(cls.sets) else "*"
        stimuli: Globs = {each: (f"stimuli/{below}/{each}-*.parquet",) for each in SUBSETS}
        configs = [
            CorpusConfig("cells", globs={"cells": ("cells.parquet",)}),
            *(CorpusConfig(each, globs=record_globs(area=each)) for each in folders),
            CorpusConfig("all", globs=every),
            *(CorpusConfig(each, globs={each: every[each]}) for each in SUBSETS),
            CorpusConfig("stimuli", globs=stimuli),
        ]
        if cls.waveforms:
            configs.append(CorpusConfig("waveforms", globs={"waveforms": ("waveforms/*.parquet",)}))
        return configs + [CorpusConfig(each, globs=record_globs(site=each)) for each in cls.sites()]

    @classmethod
    def sites(cls) -> list[str]:
        """The sites in ``sites.csv``."""
        path = Path(inspect.getfile(cls)).parent / "sites.csv"
        if not path.exists():
            return []
        with path.open(encoding="utf-8") as file:
            return [row["siteid"] for row in csv.DictReader(file)]

    @classmethod
    def conventions(cls) -> Conventions:
        """What the readers need to know of the corpus."""
        return Conventions(
            cls.subsets,
            cls.parse_cell_id,
            lambda cell: str(cls.parse_cell_id(cell)["session"]),
            cls.bin_ms / 1000,
            cls.joins,
        )

    @classmethod
    def records_features(cls) -> Features:
        """The features of records: the common ones, and some columns of the cell list."""
        listing = cls.cell_list
        own = {name: listing.columns[name] for name in listing.of_records} if listing else {}
        return Features({**schema.RECORDS, **own})

    @classmethod
    def read_list(cls, release: Release, columns: tuple[str, ...] | None = None) -> CellList:
        """Read the cell list: ids and places of the cells, and all or some published columns."""
        listing = cls._listing()
        return read_cells(
            release.file(listing.file),
            listing.columns,
            listing.cell_id,
            listing.site,
            columns,
            md5=cls.published[listing.file],
            source=release.source,
            session_of=cls.conventions().session_of,
        )

    @classmethod
    def list_notes(cls, release: Release) -> list[Note]:
        return cls.read_list(release).all_notes() if cls.cell_list else []

    @classmethod
    def describe(cls, release: Release) -> dict[str, object]:
        if cls.cell_list:
            (directory,) = cls.sets.values()
            return {**cls.count_cells(release), "archives": len(release.archives(directory))}
        counts: dict[str, object] = {}
        for name, directory in cls.sets.items():
            of_set = f" of {name}" if name else ""
            try:
                archives = release.archives(directory)
            except CorpusError:
                counts[f"sites{of_set}"] = "missing in the release"
                continue
            counts[f"sites{of_set}"] = len(unlisted.by_session(archives, cls.session_of)[0])
            counts[f"archives{of_set}"] = len(archives)
        return counts

    @classmethod
    def count_cells(cls, release: Release) -> dict[str, object]:
        """Count the cells, sites and sessions of the cell list; opens no other file."""
        cells = cls.read_list(release).table
        areas = Counter(area or UNLABELED for area in cells["area"].to_pylist())
        return {
            "cells": len(cells),
            **{f"cells in {area}": areas[area] for area in cls.areas},
            "sites": len(cells["site"].unique()),
            "sessions": len(cells["session"].unique()),
        }

    @classmethod
    def groups(cls, path: str = "") -> list[str]:
        """The cells, and each set: listing one set of archives fetches no other."""
        if cls.cell_list:
            return [""]
        top, name = [*path.split("/"), ""][:2]
        if top in ("data", "stimuli"):
            return [name] if name in cls.sets else [*cls.sets]
        return [CELLS] if top == "cells.parquet" else [CELLS, *cls.sets]

    @classmethod
    def group(cls, release: Release, name: str) -> list[Job]:
        if cls.cell_list:
            return cls.jobs(release)
        if name == CELLS:
            return [cls._cells_job(release)]
        return cls._session_jobs(name, cls._unlisted(release, name))

    @classmethod
    def jobs(cls, release: Release) -> list[Job]:
        if cls.cell_list is None:
            return [job for name in cls.groups() for job in cls.group(release, name)]
        jobs = [cls._list_job(release), *cls._session_jobs(*cls._listed(release))]
        if cls.waveforms:
            onset_ms = cls.waveforms.onset_ms
            jobs += waveform_jobs(
                release, cls.waveforms.parts, lambda: lambda name: (f"STIM_{name}.wav", onset_ms)
            )
        return jobs

    @classmethod
    def _session_jobs(cls, name: str, sessions: Iterable[SessionJobs]) -> list[Job]:
        features, stimuli = cls.records_features(), Features(schema.STIMULI)
        return [
            job
            for session in sessions
            for job in (
                session.records(features),
                session.stimuli(stimuli, cls.bands[name], cls.parts),
            )
        ]

    @classmethod
    def _list_job(cls, release: Release) -> Job:
        listing = cls._listing()
        key = cache(lambda: digest(release.file(listing.file), FINGERPRINT))
        features = Features({**schema.CELL_ID, **listing.columns})
        read = partial(cls.read_list, release)
        return cells_job(cls.corpus, read, features, key, cls.conventions())

    @classmethod
    def _cells_job(cls, release: Release) -> Job:
        """The cells of all sets that the release has; a note names the others."""
        here: list[str] = []
        missing: list[CorpusError] = []
        for name, directory in cls.sets.items():
            try:
                release.whole(directory)
                here.append(name)
            except CorpusError as error:
                missing.append(error)
        if not here:
            raise missing[0]

        def odd() -> Iterator[Note]:
            yield from (Note("", "", str(error)) for error in missing)
            for name in here:
                yield from unlisted.by_session(release.archives(cls.sets[name]), cls.session_of)[1]

        return unlisted.cells_job(
            cls.corpus,
            lambda: [each for name in here for each in release.whole(cls.sets[name])],
            lambda: [(s.session, s.own_cells) for n in here for s in cls._unlisted(release, n)],
            odd,
        )

    @classmethod
    def _listed(cls, release: Release) -> tuple[str, list[SessionJobs]]:
        """The set of archives, and the sessions of the cell list."""
        listing, conventions = cls._listing(), cls.conventions()
        # Only these columns: parsing long ones, such as spike waveforms, takes half of the time.
        cells = cls.read_list(release, listing.of_records)
        cells = replace(cells, table=cells.table.select([*WHERE, *listing.of_records]))
        folders = places(cells.table)
        ((name, directory),) = cls.sets.items()

        return name, [
            ListedSession(
                release=release,
                session=session,
                folders=own,
                conventions=conventions,
                below="",
                directory=directory,
                sessions=folders,
                listed=cells,
            )
            for session, own in folders.items()
        ]

    @classmethod
    def _unlisted(cls, release: Release, name: str) -> list[unlisted.UnlistedSession]:
        """The sessions after which the archives of a set are named."""
        of_session, _ = unlisted.by_session(release.archives(cls.sets[name]), cls.session_of)
        folder = name or cls.area or UNLABELED
        return [
            unlisted.UnlistedSession(
                release=release,
                session=session,
                folders=[(folder, session)],
                conventions=cls.conventions(),
                below=f"{name}/" if name else "",
                area=cls.area,
                own=tuple(own),
            )
            for session, own in of_session.items()
        ]

    @classmethod
    def _listing(cls) -> Listing:
        assert cls.cell_list is not None  # the callers have looked
        return cls.cell_list

    @classmethod
    def synthesize(cls, folder: Path, scale: Scale, seed: int, driven: bool = False) -> None:
        from builders.synthetic.files import new_release
        from builders.synthetic.recordings import write_release

        folder = new_release(folder, scale)
        planned = [replace(each, driven=driven) for each in cls.plan(scale, seed)]
        others = cls.write_others(folder, planned, seed)
        write_release(folder, planned, seed, others=others, waveforms=cls.waveforms is not None)

    @classmethod
    def reference(cls, release: Release) -> Iterator[Source]:
        from builders.validation.sessions import sources

        return sources(cls, release)
