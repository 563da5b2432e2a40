"""The family of corpora of any format that has spike times, trial by trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from datasets import Features
from numpy.typing import NDArray

from builders import conventions, schema
from builders.conventions import SUBSETS
from builders.corpus.builder import CorpusBuilder, Scale
from builders.corpus.configs import CorpusConfig, Globs, record_globs
from builders.errors import CorpusError, RecordingError
from builders.nems.binning import spike_bins
from builders.release.archive import Archive
from builders.release.local import Release
from builders.shards.arrow import ROW_GROUP_BYTES, matrix_lists, ragged, stored, table
from builders.shards.excluded import of_session, read_excluded
from builders.shards.job import Job
from builders.shards.jobs import left_out
from builders.shards.listed import UNLABELED
from builders.shards.notes import Note, Notes
from builders.shards.trials import Trials
from builders.shards.unlisted import by_session, cells_job, cells_table

if TYPE_CHECKING:
    from builders.validation.reference import Source


class TrialCorpus(CorpusBuilder):
    """A corpus with one file of spike times per session, and one file per sound.

    A corpus sets the class attributes below and those of `CorpusBuilder`, and implements `read`,
    `spectrogram`, `facts` and `write`. It may override `subsets` and `parse_cell_id`. Binning, the
    order of rows, shards, configs and the reference are inherited.
    """

    #: The release's folders of spike files and of sounds, each with the end of their names.
    files: ClassVar[tuple[str, str]] = ("spikes", ".txt")
    sounds: ClassVar[tuple[str, str]] = ("wav", ".wav")
    #: The area of all cells, if it is known, and the sites that have configs.
    area: ClassVar[str | None] = None
    site_names: ClassVar[tuple[str, ...]] = ()
    DEFAULT_CONFIG_NAME = "all"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        every = record_globs()
        stimuli: Globs = {each: (f"stimuli/*/{each}.parquet",) for each in SUBSETS}
        cls.BUILDER_CONFIGS = [
            CorpusConfig("cells", globs={"cells": ("cells.parquet",)}),
            CorpusConfig("all", globs=every),
            *(CorpusConfig(each, globs={each: every[each]}) for each in SUBSETS),
            CorpusConfig("stimuli", globs=stimuli),
            *(CorpusConfig(each, globs=record_globs(site=each)) for each in cls.site_names),
        ]

    # -- What a corpus implements ------------------------------------------------------------------

    @classmethod
    def read(cls, archive: Archive) -> Iterable[Trials]:
        """The trials in a spike file; several of a cell and a stimulus are joined."""
        raise NotImplementedError

    @classmethod
    def spectrogram(cls, sound: Archive) -> NDArray[np.float32]:
        """The spectrogram of a sound, (F, T) float32, with bins of `bin_ms`."""
        raise NotImplementedError

    @classmethod
    def write(cls, folder: Path, session: str, trials: Sequence[Trials], seed: int) -> None:
        """Write a spike file, and the sounds that are not there yet, of a synthetic release."""
        raise NotImplementedError

    @classmethod
    def subsets(cls, counts: Mapping[str, int]) -> dict[str, str]:
        """The subset of each stimulus of a session, whose numbers of trials are given."""
        return conventions.subsets_by_count(counts)

    @classmethod
    def parse_cell_id(cls, cell_id: str) -> dict[str, Any]:
        """The parts of a cell id; see `builders.conventions.parse_cell_id`."""
        return conventions.parse_cell_id(cell_id)

    # -- What is inherited -------------------------------------------------------------------------

    @classmethod
    def sessions(cls, release: Release) -> tuple[dict[str, list[Archive]], list[Note]]:
        """Session -> its spike file; notes on files whose names cannot be a session's."""
        directory, suffix = cls.files
        files = release.archives(directory, suffix)
        return by_session(files, lambda file: file.name[: -len(suffix)])

    @classmethod
    def sounds_of(cls, release: Release) -> dict[str, Archive]:
        """Stimulus -> its sound."""
        directory, suffix = cls.sounds
        return {each.name[: -len(suffix)]: each for each in release.archives(directory, suffix)}

    @classmethod
    def trials(cls, archive: Archive) -> dict[tuple[str, str], list[Trials]]:
        """(stimulus, cell) -> its trials, sorted by both.

        Raises
        ------
        RecordingError
            If the file cannot be read, or a number of onsets is not that of the trials.
        """
        found: dict[tuple[str, str], list[Trials]] = {}
        try:
            for each in cls.read(archive):
                if len(each.onsets) not in (0, len(each.spikes)):
                    why = f"{len(each.onsets)} onsets of {len(each.spikes)} trials"
                    raise ValueError(f"{each.stim}, {each.cell}: {why}")
                if len(each.spikes):
                    found.setdefault((each.stim, each.cell), []).append(each)
        except CorpusError:
            raise
        except Exception as error:  # a corpus' own code, on any file
            raise _unreadable("spike file", archive, error) from error
        return dict(sorted(found.items()))

    @classmethod
    def counts(cls, trials: Sequence[Trials]) -> dict[str, int]:
        """The number of trials of each stimulus: of the cell that has most."""
        of_pair = Counter[tuple[str, str]]()
        for each in trials:
            of_pair[each.stim, each.cell] += len(each.spikes)
        counts: dict[str, int] = {}
        for (stim, _), n in of_pair.items():
            counts[stim] = max(n, counts.get(stim, 0))
        return counts

    @classmethod
    def describe(cls, release: Release) -> dict[str, object]:
        return {"sessions": len(cls.sessions(release)[0]), "sounds": len(cls.sounds_of(release))}

    @classmethod
    def jobs(cls, release: Release) -> list[Job]:
        found, notes = cls.sessions(release)
        sessions = {name: archive for name, (archive,) in found.items()}
        excluded = read_excluded(release.corpus)
        jobs = [
            cells_job(
                cls.corpus,
                lambda: [*sessions.values()],
                lambda: [(name, partial(cls._cells, name, sessions[name])) for name in sessions],
                lambda: notes,
            )
        ]
        sounds = cache(partial(cls.sounds_of, release))  # when needed: records can do without
        for name, archive in sessions.items():
            session = _Session(cls, name, archive, sounds, of_session(excluded, name))
            jobs += [session.records(), session.stimuli()]
        return jobs

    @classmethod
    def _cells(cls, session: str, archive: Archive) -> pa.Table:
        cells = {cell for _, cell in cls.trials(archive)}
        return cells_table(cells, session, cls.area, cls.parse_cell_id)

    @classmethod
    def reference(cls, release: Release) -> Iterator[Source]:
        from builders.validation.trials import sources

        return sources(cls, release)

    @classmethod
    def synthesize(cls, folder: Path, scale: Scale, seed: int, driven: bool = False) -> None:
        from builders.synthetic.trials import sessions

        for name, trials in sessions(cls, folder, scale, seed):
            cls.write(folder, name, trials, seed)


@dataclass(frozen=True)
class _Session:
    """The jobs of one session; `excluded` is what the user has excluded from it."""

    corpus: type[TrialCorpus]
    name: str
    archive: Archive
    sounds: Callable[[], Mapping[str, Archive]]
    excluded: Mapping[str, str]

    def records(self) -> Job:
        folder = f"data/{self.corpus.area or UNLABELED}/{self.name}"
        paths = {f"{folder}/{subset}.parquet": subset for subset in SUBSETS}
        features = Features(schema.RECORDS)
        return self._job("records", paths, features, self._records, lambda: [self.archive])

    def stimuli(self) -> Job:
        paths = {f"stimuli/{self.name}/{subset}.parquet": subset for subset in SUBSETS}
        features = Features(schema.STIMULI)
        archives = lambda: [self.archive, *self.sounds().values()]  # noqa: E731
        return self._job("stimuli", paths, features, self._stimuli, archives)

    def _job(
        self,
        kind: str,
        paths: Mapping[str, str],
        features: Features,
        rows: Callable[..., Iterator[pa.Table]],
        archives: Callable[[], list[Archive]],
    ) -> Job:
        def tables(notes: Notes) -> dict[str, Iterable[pa.Table]]:
            if why := self.excluded.get(self.name):
                for path in paths:
                    notes.add(path, Note(self.name, "", left_out(why)))
                return {path: [] for path in paths}
            trials = self.corpus.trials(self.archive)
            every = [each for of_pair in trials.values() for each in of_pair]
            subsets = self.corpus.subsets(self.corpus.counts(every))
            return {
                path: rows(trials, subsets, subset, features, partial(self._note, notes, path))
                for path, subset in paths.items()
            }

        key = cache(lambda: repr(self.excluded))
        return Job(f"{self.name}-{kind}", tuple(paths), features, archives, key, tables, self.name)

    def _note(self, notes: Notes, path: str, subject: str, text: str) -> None:
        notes.add(path, Note(self.name, subject, text))

    def _records(
        self, trials: Any, subsets: dict[str, str], subset: str, features: Features, note: Any
    ) -> Iterator[pa.Table]:
        rows: list[dict[str, Any]] = []
        responses: list[list[NDArray[np.float32]]] = []
        size = 0
        for (stim, cell), of_pair in trials.items():
            if subsets[stim] != subset:
                continue
            stim_id = f"{self.name}/{stim}"
            if why := self.excluded.get(cell) or self.excluded.get(stim_id):
                note(cell if cell in self.excluded else stim_id, left_out(why))
                continue
            ids = {"cell_id": cell, **self.corpus.parse_cell_id(cell)}
            ids |= {"site": self.name, "session": self.name, "area": self.corpus.area}
            ids |= {"stim_id": stim_id, "stim": stim, "subset": subset}
            rows.append({**ids, "onsets": [o for each in of_pair for o in each.onsets]})
            responses.append([counts for each in of_pair for counts in self._binned(each)])
            size += sum(counts.nbytes for counts in responses[-1])
            if size > ROW_GROUP_BYTES:
                yield _records_table(rows, responses, features)
                rows, responses, size = [], [], 0
        if rows:
            yield _records_table(rows, responses, features)

    def _binned(self, trials: Trials) -> Iterator[NDArray[np.float32]]:
        """The counts of each trial. A spike belongs to the bin ``floor(t * fs)``."""
        fs = 1000 / self.corpus.bin_ms
        n_bins = round(trials.duration * fs)
        for times in trials.spikes:
            try:
                bins = spike_bins(np.asarray(times, np.float64), fs, n_bins)
            except ValueError as error:
                error = ValueError(f"{trials.stim}, {trials.cell}: {error}")
                raise _unreadable("spike file", self.archive, error, trials.cell) from error
            yield np.bincount(bins, minlength=n_bins).astype(np.float32)

    def _stimuli(
        self, trials: Any, subsets: dict[str, str], subset: str, features: Features, note: Any
    ) -> Iterator[pa.Table]:
        sounds, schema = self.sounds(), stored(features)
        counts = self.corpus.counts([each for of_pair in trials.values() for each in of_pair])
        for stim in sorted(counts):
            stim_id = f"{self.name}/{stim}"
            if subsets[stim] != subset:
                continue
            if why := self.excluded.get(stim_id):
                note(stim, left_out(why))
            elif stim not in sounds:
                note(stim, "it was presented, but has no sound")
            else:
                columns: dict[str, Any] = {"stim_id": [stim_id], "stim": [stim]}
                columns |= {"subset": [subset], "session": [self.name]}
                columns |= {"spectrogram": matrix_lists([self._spectrogram(sounds[stim], stim_id)])}
                columns |= {"dt_ms": [self.corpus.bin_ms], "n_trials": [counts[stim]]}
                yield table(columns, schema)

    def _spectrogram(self, sound: Archive, stim_id: str) -> NDArray[np.float32]:
        try:
            values = np.asarray(self.corpus.spectrogram(sound), np.float32)
            if values.ndim != 2:
                raise ValueError(f"the spectrogram has the shape {values.shape}, not (F, T)")
        except CorpusError:
            raise
        except Exception as error:  # a corpus' own code, on any file
            raise _unreadable("sound", sound, error, stim_id) from error
        return values


def _unreadable(what: str, file: Archive, error: Exception, unit: str = "") -> RecordingError:
    """The error for a file that cannot be read; `unit` is the smallest part that it affects."""
    return RecordingError(
        f"cannot read a {what}",
        where=file,
        why=f"{type(error).__name__}: {error}",
        unit=unit,
        is_published=bool(file.fetch),
    )


def _records_table(
    rows: list[dict[str, Any]], responses: list[list[NDArray[np.float32]]], features: Features
) -> pa.Table:
    trials = [counts for of_row in responses for counts in of_row]
    values = ragged(pa.array(np.concatenate(trials)), np.array([len(each) for each in trials]))
    response = ragged(values, np.array([len(each) for each in responses]))
    columns = {name: [row[name] for row in rows] for name in features if name != "response"}
    return table({**columns, "response": response}, stored(features))
