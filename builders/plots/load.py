"""Load the data that each figure of a corpus needs, and draw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasets import Dataset, concatenate_datasets, load_dataset

from builders.corpus.builder import CorpusBuilder, FigureName
from builders.corpus.configs import Globs
from builders.corpus.registry import card_path
from builders.errors import CorpusError, unknown
from builders.plots import figures
from builders.plots.records import quality, record, typical_record
from builders.urls import repository_url

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(
    corpus: type[CorpusBuilder],
    figure: FigureName,
    config: str | None = None,
    note: str = "",
    *,
    cell: str | None = None,
    stim: str | None = None,
    split: str | None = None,
) -> Figure:
    """Draw one of the figures of `builders.plots`.

    Parameters
    ----------
    corpus : type
        The corpus.
    figure : str
        Name of the function in `builders.plots`.
    config : str, optional
        What to draw, such as a site; if None, all that the figure can show.
    note : str
        A small line below the figure.
    cell, stim, split : str, optional
        Which record, for the figure ``record``: its ``cell_id``, its ``stim`` or ``stim_id``, and
        its split. What is not given is chosen by `builders.plots.typical_record`.

    Raises
    ------
    CorpusError
        If the config, the cell or the stimulus does not exist, or the config lacks what the figure
        shows.
    """
    if figure == "record":
        records = _load_some(corpus, config, cell, stim, split)
        row = typical_record(records)
        stimulus = _load_stimulus(corpus, records.select_columns(["stim_id", "session"])[row])
        return record(
            records,
            stimulus,
            row,
            frequencies=corpus.frequencies,
            sound_ms=corpus.sound_ms,
            note=note,
        )
    if cell or stim or split:
        raise CorpusError(
            f"cannot draw the {figure} of one record",
            fix="name a cell, a stimulus or a split for the figure record alone",
        )
    if figure == "quality":
        columns = ["cell_id", "area", "response"]
        records = _load_records(corpus, config, some_split=True, columns=columns)
        return quality(records, note=note, bin_ms=corpus.bin_ms)
    if figure == "coverage":
        columns = ["stim_id", "subset", "cell_id", "site", "session"]
        return figures.coverage(_load_records(corpus, config, columns=columns), note=note)
    if figure == "sessions":
        presented = _load_presented(corpus, config)
        return figures.sessions(presented, note=note, bin_ms=corpus.bin_ms)
    of_cells = figures.depth if figure == "depth" else figures.cells
    return of_cells(_load(corpus, config or "cells"), note=note)


def _load_some(
    corpus: type[CorpusBuilder],
    config: str | None,
    cell: str | None,
    stim: str | None,
    split: str | None,
) -> Any:
    """Load the records of a cell and a stimulus, if they are given; of one split."""
    if cell and not config:
        config = _site_of(corpus, cell)
    column = "stim_id" if stim and "/" in stim else "stim"
    wanted = [(name, "==", value) for name, value in (("cell_id", cell), (column, stim)) if value]
    options: dict[str, Any] = {"filters": wanted} if wanted else {}
    if split:
        splits = _globs(corpus, config or corpus.DEFAULT_CONFIG_NAME)
        if split not in splits:
            raise unknown(f"split of {config or corpus.DEFAULT_CONFIG_NAME}", split, splits)
        options["split"] = split
    elif stim:  # it may be in any split
        found = _load_records(corpus, config, **options)
        return concatenate_datasets(
            [each for each in found.values() if len(each)] or [*found.values()]
        )
    return _load_records(corpus, config, some_split=not split, **options)


def _site_of(corpus: type[CorpusBuilder], cell: str) -> str | None:
    """The config of a cell's site, if there is one: then no other shards are built."""
    cells = _load(corpus, "cells", split="cells")
    sites = dict(zip(cells["cell_id"], cells["site"], strict=True))
    if cell not in sites:
        raise unknown(f"cell of {corpus.corpus}", cell, sites)
    return sites[cell] if sites[cell] in corpus.builder_configs else None


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
