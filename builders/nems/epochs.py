"""The epochs table of a signal: when each stimulus was presented.

Laboratories write many other things into this table: licks, lever presses, events that never
ended. So a row is checked only when its epoch is asked for.
"""

from __future__ import annotations

import csv
import io
import math

import numpy as np

from builders.conventions import STIM
from builders.nems.binning import Trials, find_trials
from builders.ragged import Floats
from builders.texts import is_text, number

COLUMNS = ("name", "start", "end")

csv.field_size_limit(1 << 20)


class Epochs:
    """The rows of an epochs table, by epoch name.

    Parameters
    ----------
    content : bytes
        A CSV with a header that names at least `COLUMNS`, in any order. Rows may be short. Other
        columns may be unnamed or named twice.

    Raises
    ------
    ValueError
        If the content is not such a table.
    """

    def __init__(self, content: bytes) -> None:
        # A name that is not UTF-8 matters only when its epoch is asked for.
        text = content.decode("utf-8-sig", "surrogateescape")
        # Strict: a quotation mark that is never closed would swallow the rows after it.
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            header = [name.strip() for name in next(rows, [])]
            self._columns = [_places(header, name) for name in COLUMNS]
            self._width = len(header)
            self._rows: dict[str, list[list[str]]] = {}
            for row in rows:
                for name in self._names(row):
                    self._rows.setdefault(name, []).append(row)
        except csv.Error as error:
            raise ValueError(f"it is no table: {error}") from error

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def stimuli(self) -> list[str]:
        """Names of the stimuli, sorted."""
        return sorted(name for name in self._rows if name.startswith(STIM))

    def n_rows(self, name: str) -> int:
        """How many rows an epoch has, valid or not."""
        return len(self._rows.get(name, ()))

    def bounds(self, name: str) -> tuple[Floats, Floats]:
        """Start and end of each occurrence in seconds, in the file's order; NaN if missing.

        Raises
        ------
        ValueError
            If a bound is not a number, or a row's columns are ambiguous.
        """
        bounds = []
        for row in self._rows.get(name, ()):
            if any(each.strip() for each in row[self._width :]):
                raise ValueError(f"a row has {len(row)} columns, the header {self._width}")
            if len(self._names(row)) > 1:
                raise ValueError("a column 'name' stands there twice, with two names")
            values = (number(self._text(row, places)) for places in self._columns[1:])
            bounds.append([math.nan if value is None else value for value in values])
        starts, ends = np.array(bounds, np.float64).reshape(-1, 2).T
        return starts, ends

    def trials(self, name: str, fs: float) -> Trials:
        """The occurrences of an epoch on the bin grid; see `builders.nems.binning.find_trials`.

        Raises
        ------
        ValueError
            If there is no such epoch, or its bounds are invalid.
        """
        if name not in self._rows:
            raise ValueError("no such epoch")
        if not is_text(name):
            raise ValueError("its name is not in UTF-8")
        return find_trials(*self.bounds(name), fs)

    def _names(self, row: list[str]) -> set[str]:
        """The names in a row: several only if the table has two name columns that differ."""
        return {row[place] for place in self._columns[0] if place < len(row)}

    def _text(self, row: list[str], places: list[int]) -> str:
        """The text of a row in a column; the header may name the column more than once."""
        texts = {row[place].strip() if place < len(row) else "" for place in places}
        if len(texts) > 1:
            raise ValueError(f"a column stands there twice, with {' and '.join(sorted(texts))}")
        return texts.pop()


def _places(header: list[str], name: str) -> list[int]:
    places = [place for place, each in enumerate(header) if each == name]
    if not places:
        raise ValueError(f"no column {name!r}")
    return places
