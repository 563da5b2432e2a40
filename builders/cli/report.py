"""What ``builders score`` says: scores of a file of predictions, and what to compare them with.

Beside the scores of the predictions stand those of the planted cells, where the release is a
synthetic one with known filters, and the published results of a corpus that has a ``results.csv``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, load_dataset

from builders.corpus.builder import CorpusBuilder
from builders.corpus.registry import card_path
from builders.errors import CorpusError
from builders.scoring import SCORES, SOURCES, Convention, Scores, read_predictions, score
from builders.stimuli import load_stimuli
from builders.synthetic.filters import read_filters

VAL = "val"
#: The planted filters in a synthetic release; the published results in a corpus' folder.
FILTERS, RESULTS = "filters.npz", "results.csv"


@dataclass(frozen=True)
class Report:
    """The scores of some predictions, and what to compare them with.

    Attributes
    ----------
    convention : str
        How the correlation is normalised.
    flag : str
        The column that says which cells the literature averages over; empty if none.
    scores : Scores
        Of the predictions.
    bound : Scores or None
        Of the planted model, which no other can exceed but by chance.
    published : list of dict
        ``area``, ``model``, ``correlation``, ``normalized_correlation`` in percent, ``source``.
    """

    convention: str
    flag: str
    scores: Scores
    bound: Scores | None
    published: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        cells = self.scores.cells.to_pylist()
        for cell in cells:
            cell |= {name: cell[name] if np.isfinite(cell[name]) else None for name in SCORES}
        return {
            "convention": self.convention,
            "summary": self.scores.summary(self.flag),
            "bound": self.bound.summary(self.flag) if self.bound else None,
            "published_percent": self.published,
            "told": self.scores.told,
            "cells": cells,
        }

    def lines(self) -> Iterator[str]:
        """The report for people, in percent."""
        rows = [
            ("", "cells", "", "correlation", "", "normalized", ""),
            ("", "", "n", "mean", "median", "mean", "median"),
            *self._rows(self.scores, "these predictions"),
        ]
        if self.bound:
            rows += self._rows(self.bound, "planted model: the bound")
        for each in self.published:
            where = f"{each['area']} {self.flag}".strip()
            raw, normalized = each["correlation"], each["normalized_correlation"]
            rows.append((f"published: {each['model']}", where, "", raw, "", normalized, ""))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            yield "  ".join(
                text.ljust(width) if column < 2 else text.rjust(width)
                for column, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
        yield f"in percent; normalized {SOURCES[self.convention]}"
        for source in sorted({each["source"] for each in self.published}):
            yield f"published: {source}"
        yield from (f"note: {text}" for text in self.scores.told)

    def _rows(self, scores: Scores, what: str) -> Iterator[tuple[str, ...]]:
        for row in scores.summary(self.flag):
            numbers = [
                "-" if (value := row[name][kind]) is None else f"{100 * value:.1f}"
                for name in SCORES
                for kind in ("mean", "median")
            ]
            yield (what, f"{row['area']} {row['cells']}", str(row["n_cells"]), *numbers)


def report(
    corpus: type[CorpusBuilder],
    config: str,
    predictions: Path,
    convention: Convention = "schoppe",
    *,
    partial: bool = False,
) -> Report:
    """Score a file of predictions of the ``val`` records of a config.

    Raises
    ------
    CorpusError
        If the config has no such records, or the predictions are refused; see
        `builders.scoring.score`.
    """
    table = read_predictions(predictions)
    corpus.check_configs([config])
    splits = corpus.builder_configs[config].globs
    if VAL not in splits:
        raise CorpusError(
            f"cannot score predictions of {corpus.corpus} {config}",
            why=f"its splits are {', '.join(splits)}",
            fix="name a config of records with a split val, such as an area or a site",
        )
    records = load_dataset(str(card_path(corpus).parent), config, split=VAL)
    scores = score(records, table, convention, partial=partial)
    areas = {row["area"] for row in scores.summary()}
    published = [row for row in _published(corpus) if row["area"] in areas]
    bound = _bound(corpus, records, convention)
    return Report(convention, corpus.scored, scores, bound, published)


def _published(corpus: type[CorpusBuilder]) -> list[dict[str, Any]]:
    file = card_path(corpus).parent / RESULTS
    return [*csv.DictReader(file.open(encoding="utf-8"))] if file.is_file() else []


def _bound(corpus: type[CorpusBuilder], records: Dataset, convention: Convention) -> Scores | None:
    """The scores of the planted cells, if the release tells their filters."""
    path = corpus.release().folder / FILTERS
    if not path.is_file():
        return None
    return score(records, planted_predictions(corpus, records, path), convention, partial=True)


def planted_predictions(corpus: type[CorpusBuilder], records: Dataset, path: Path) -> pa.Table:
    """What the planted cells of a synthetic release would be predicted to do by their makers.

    Parameters
    ----------
    corpus : type of CorpusBuilder
    records : Dataset
        Whose stimuli are predicted.
    path : Path
        The ``filters.npz`` of the release.

    Returns
    -------
    pyarrow.Table
        As `builders.scoring.score` takes it: spikes per bin.
    """
    planted = read_filters(path)
    wanted = set(records.unique("stim_id"))
    stimuli = load_stimuli(corpus.corpus, wanted).with_format("numpy")
    found: list[pa.Table] = []
    for row in stimuli:
        if row["stim_id"] not in wanted:
            continue
        rates = planted.rates(np.asarray(row["spectrogram"], np.float64))
        values = pa.FixedSizeListArray.from_arrays(rates.reshape(-1), rates.shape[1])
        found.append(
            pa.table(
                {
                    "cell_id": planted.cell_ids,
                    "stim_id": [row["stim_id"]] * len(rates),
                    "prediction": values.cast(pa.list_(pa.float64())),
                }
            )
        )
    return pa.concat_tables(found)
