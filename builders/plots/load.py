"""Load the data that each figure of a corpus needs, and draw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasets import Dataset, load_dataset

from builders.corpus.builder import CorpusBuilder, FigureName
from builders.corpus.configs import Globs
from builders.corpus.registry import card_path
from builders.errors import CorpusError, unknown
from builders.plots import figures
from builders.urls import repository_url

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(
    corpus: type[CorpusBuilder], figure: FigureName, config: str | None = None, note: str = ""
) -> Figure:
    """Draw one of the figures of `builders.plots.figures`.

    Parameters
    ----------
    corpus : type
        The corpus.
    figure : str
        Name of the function in `builders.plots.figures`.
    config : str, optional
        What to draw, such as a site; if None, all that the figure can show.
    note : str
        A small line below the figure.

    Raises
    ------
    CorpusError
        If the config does not exist, or lacks what the figure shows.
    """
    if figure == "record":
        records = _load_records(corpus, config, some_split=True)
        row = figures.typical_record(records)
        stimulus = _load_stimulus(corpus, records.select_columns(["stim_id", "session"])[row])
        return figures.record(records, stimulus, row, frequencies=corpus.frequencies, note=note)
    if figure == "coverage":
        columns = ["stim_id", "subset", "cell_id", "site", "session"]
        return figures.coverage(_load_records(corpus, config, columns=columns), note=note)
    if figure == "sessions":
        presented = _load_presented(corpus, config)
        return figures.sessions(presented, note=note, bin_ms=corpus.bin_ms)
    of_cells = figures.depth if figure == "depth" else figures.cells
    return of_cells(_load(corpus, config or "cells"), note=note)


def _load(corpus: type[CorpusBuilder], config: str, **options: Any) -> Any:
    _globs(corpus, config)  # for an unknown name, the error lists similar ones
    return load_dataset(str(card_path(corpus).parent), config, **options)


def _globs(corpus: type[CorpusBuilder], config: str) -> Globs:
    globs = {each.name: each.globs for each in corpus.BUILDER_CONFIGS}
    if config not in globs:
        raise unknown(f"config of {corpus.corpus}", config, globs)
    found: Globs = globs[config]
    return found


def _load_records(
    corpus: type[CorpusBuilder], config: str | None, *, some_split: bool = False, **options: Any
) -> Any:
    """Load the records of a config (None: the default one).

    Loads all splits; with `some_split`, only ``val`` if it exists, else the first one.
    """
    config = config or corpus.DEFAULT_CONFIG_NAME
    globs = _globs(corpus, config)
    if not all(path.startswith("data/") for paths in globs.values() for path in paths):
        raise CorpusError(
            "cannot draw this figure",
            why=f"it shows records, and the config {config} has none",
            fix=f"choose another config, e.g. {corpus.DEFAULT_CONFIG_NAME}",
        )
    if some_split:
        options["split"] = "val" if "val" in globs else next(iter(globs))
    return _load(corpus, config, **options)


def _load_presented(corpus: type[CorpusBuilder], config: str | None) -> Any:
    """Load the stimuli; or records, if a config is named or stimuli do not name a session."""
    if config in (None, "stimuli"):
        stimuli = _load(corpus, "stimuli")
        if config or None not in next(iter(stimuli.values()))["session"][:]:
            return stimuli
    columns = ["stim_id", "subset", "session", "response"]
    return _load_records(corpus, config, columns=columns)


def _load_stimulus(corpus: type[CorpusBuilder], record: dict[str, str]) -> Any:
    """Load the stimulus of a record from the files of its session, so that no others are built.

    If the release has no spectrogram of it, the result has a spectrogram without bins.
    """
    files = [
        repository_url(corpus.corpus) + _of_session(glob, record["session"])
        for globs in _globs(corpus, "stimuli").values()
        for glob in globs
    ]
    only = [("stim_id", "==", record["stim_id"])]
    # Streamed, because a table without rows cannot be loaded otherwise.
    found = load_dataset("parquet", data_files=files, split="train", streaming=True, filters=only)
    absent = {"stim_id": record["stim_id"], "spectrogram": [[]], "dt_ms": corpus.bin_ms}
    return Dataset.from_list(list(found) or [absent])


def _of_session(glob: str, session: str) -> str:
    """A glob of stimuli with a session in place of its last folder, if that is any."""
    head, any_folder, tail = glob.rpartition("*/")
    return f"{head}{session}/{tail}" if any_folder else glob
