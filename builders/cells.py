"""Read a corpus' cell list: a CSV with one row per cell, typed column by column."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from datasets import Features

from builders.errors import CorpusError
from builders.schema import CELL_ID, parse_cell_id


def read_cells(path: Path, published: dict[str, Any], cell_id: str, site: str) -> pa.Table:
    """The cell list with its published columns under their names, and the parts of the cell id.

    Parameters
    ----------
    path : Path
        A CSV with a header. Quoted values may span lines; empty ones are null.
    published : dict of str to feature
        The columns to read. A `List` column holds printed numpy arrays, as
        ``"[ 1.0e-03 -2.0e-03\\n ...]"``; the numbers are parsed and nothing is evaluated.
    cell_id, site : str
        The columns that hold the cell's and the site's id. ``area`` must be published too.

    Returns
    -------
    pyarrow.Table
        In the file's order: the columns of `builders.schema.CELL_ID`, then those of `published`.

    Raises
    ------
    CorpusError
        If a column is missing, a value does not have its column's type, or a cell stands twice.
    """
    features = Features(published)
    texts = _read_typed(path, features)
    columns = {
        name: _parse_arrays(path, texts[name]) if pa.types.is_list(field.type) else texts[name]
        for name, field in zip(features, features.arrow_schema, strict=True)
    }
    ids = texts[cell_id].to_pylist()
    _check_ids(path, ids)
    parts = [parse_cell_id(cell) for cell in ids]
    types = Features(CELL_ID).arrow_schema
    parsed = {
        name: pa.array([part[name] for part in parts], types.field(name).type)
        for name in ("session", "animal", "probe", "electrode", "unit")
    }
    parsed |= {"cell_id": columns[cell_id], "site": columns[site], "area": columns["area"]}
    return pa.table({**{name: parsed[name] for name in CELL_ID}, **columns})


def _read_typed(path: Path, features: Features) -> pa.Table:
    types = {field.name: field.type for field in features.arrow_schema}
    # pandas writes an integer column that has gaps as floats, 2.0 for 2.
    integers = [name for name, type_ in types.items() if pa.types.is_integer(type_)]
    read_as = {name: pa.string() if pa.types.is_list(t) else t for name, t in types.items()}
    read_as |= dict.fromkeys(integers, pa.float64())
    options = pyarrow.csv.ConvertOptions(
        column_types=read_as,
        include_columns=list(types),
        null_values=["", "nan", "NaN"],
        strings_can_be_null=True,
        true_values=["True"],
        false_values=["False"],
    )
    fix = "compare it with the published one; where they differ, download it again"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header = next(csv.reader(file), [])
        if missing := [name for name in types if name not in header]:
            why = f"no column {', '.join(missing)}"
            raise CorpusError("cannot read the cell list", where=path, why=why, fix=fix)
        table = pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=options,
        )
        for name in integers:
            at = table.column_names.index(name)
            table = table.set_column(at, name, table[name].cast(types[name]))
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError("cannot read the cell list", where=path, why=error, fix=fix) from error
    return table


def _parse_arrays(path: Path, texts: pa.ChunkedArray) -> pa.Array:
    """Numbers from numpy prints; null where there is no text."""
    rows: list[np.ndarray[Any, Any] | None] = []
    for number, text in enumerate(texts.to_pylist(), 1):
        try:
            rows.append(
                None if text is None else np.array(text.strip().strip("[]").split(), np.float32)
            )
        except ValueError as error:
            why = f"row {number}: {error}"
            raise CorpusError("cannot read the cell list", where=path, why=why) from error
    return pa.array(rows, pa.list_(pa.float32()))


def _check_ids(path: Path, ids: list[str | None]) -> None:
    twice = [str(cell) for cell, count in Counter(ids).items() if count > 1 or cell is None]
    if twice:
        raise CorpusError(
            "cannot read the cell list",
            where=path,
            why=f"a cell stands in it twice, or has no id: {', '.join(sorted(twice))}",
            fix="compare it with the published one; where they differ, download it again",
        )
