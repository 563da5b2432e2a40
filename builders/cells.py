"""Read a corpus' cell list: a CSV with one row per cell, typed column by column."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from datasets import Features

from builders.errors import CorpusError
from builders.schema import CELL_ID, parse_cell_id

#: Bytes of a table; the largest published one has 5.7 MB.
LARGEST_TABLE = 256 << 20
#: The columns that say which shard a cell's records are in.
WHERE = ("cell_id", "session", "site", "area")
#: What reading one can end in.
BAD_TABLE = (OSError, ValueError, MemoryError, csv.Error, pa.ArrowException)
FIX = "compare it with the published one; where they differ, download it again"


def read_cells(
    path: Path,
    published: dict[str, Any],
    cell_id: str,
    site: str,
    columns: Collection[str] | None = None,
) -> pa.Table:
    """A cell list with its published columns under their names, and where each cell's records are.

    Parameters
    ----------
    path, published, cell_id, columns
        As for `read_table`; ``area`` must be published.
    site : str
        The column that holds the site's id.

    Returns
    -------
    pyarrow.Table
        In the file's order: `WHERE`, then the columns of `published`. `with_ids` adds the rest of
        the cell id.
    """
    cells = read_table(path, published, cell_id, columns and {*columns, cell_id, site, "area"})
    if None in (sites := cells[site].to_pylist()):
        cell = cells[cell_id][sites.index(None)]
        raise CorpusError("cannot read the cell list", where=path, why=f"{cell} has no {site}")
    _check_folders(path, [*sites, *(area for area in cells["area"].to_pylist() if area)])
    ids = cells[cell_id].to_pylist()
    where = {
        "cell_id": cells[cell_id],
        "session": pa.array([cell.partition("-")[0] for cell in ids], pa.string()),
        "site": cells[site],
        "area": cells["area"],
    }
    return pa.table(where | dict(zip(cells.column_names, cells, strict=True)))


def with_ids(cells: pa.Table) -> pa.Table:
    """Cells that have at least `WHERE`, with all columns of `builders.schema.CELL_ID`, these first.

    It takes 2 us a cell, which a listing of all sessions can do without.
    """
    columns = dict(zip(cells.column_names, cells, strict=True))
    columns |= id_columns(cells["cell_id"].to_pylist())
    return pa.table({name: columns[name] for name in {**CELL_ID, **columns}})


def id_columns(ids: list[str]) -> dict[str, pa.Array]:
    """The columns of `builders.schema.CELL_ID` that follow from cell ids: all but site and area."""
    parts = [{"cell_id": cell, **parse_cell_id(cell)} for cell in ids]
    types = Features(CELL_ID).arrow_schema
    return {
        name: pa.array([part[name] for part in parts], types.field(name).type)
        for name in CELL_ID
        if name not in ("site", "area")
    }


def read_table(
    path: Path, published: dict[str, Any], cell_id: str, columns: Collection[str] | None = None
) -> pa.Table:
    """A CSV with one row per cell and a header.

    Parameters
    ----------
    path : Path
        Quoted values may span lines; empty ones are null.
    published : dict of str to feature
        The columns that it must have. A `List` column holds printed numpy arrays, as
        ``"[ 1.0e-03 -2.0e-03\\n ...]"``; the numbers are parsed and nothing is evaluated.
    cell_id : str
        The column that holds the cell's id.
    columns : collection of str, optional
        The published columns that are wanted: others are not parsed.

    Raises
    ------
    CorpusError
        If a column is missing, a value does not have its column's type, a cell stands twice, or its
        session cannot be a folder.
    """
    fields = Features(published).arrow_schema
    types = {field.name: field.type for field in fields if field.name in (columns or published)}
    # pandas writes an integer column that has gaps as floats, 2.0 for 2.
    integers = [name for name, type_ in types.items() if pa.types.is_integer(type_)]
    lists = [name for name, type_ in types.items() if pa.types.is_list(type_)]
    read_as = types | dict.fromkeys(integers, pa.float64()) | dict.fromkeys(lists, pa.string())
    try:
        content = _content(path)
        header = next(csv.reader(_text(content)), [])
        counts = Counter(header)
        if odd := [name for name in published if counts[name] != 1]:
            missing = [name for name in odd if not counts[name]]
            why = f"no column {', '.join(missing)}" if missing else f"twice: {', '.join(odd)}"
            raise CorpusError("cannot read the cell list", where=path, why=why, fix=FIX)
        table = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=read_as,
                include_columns=list(types),
                null_values=["", "nan", "NaN"],
                strings_can_be_null=True,
            ),
        )
        for name in integers + lists:
            column = table[name]
            parsed = _parse_arrays(path, column) if name in lists else column.cast(types[name])
            table = table.set_column(table.column_names.index(name), name, parsed)
    except BAD_TABLE as error:
        raise CorpusError("cannot read the cell list", where=path, why=error, fix=FIX) from error
    _check_ids(path, table[cell_id].to_pylist())
    return table


def read_texts(path: Path) -> pa.Table:
    """All columns of a table that `read_table` has read, as texts; null where there is none."""
    try:
        rows = csv.DictReader(_text(_content(path)))
        names = [name for name in rows.fieldnames or () if name]
        texts = [[row[name] or None for name in names] for row in rows]
    except BAD_TABLE as error:
        raise CorpusError("cannot read the cell list", where=path, why=error, fix=FIX) from error
    columns = zip(*texts, strict=True) if texts else [() for _ in names]
    return pa.table(
        {name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)}
    )


def _content(path: Path) -> bytes:
    if (size := path.stat().st_size) > LARGEST_TABLE:
        raise ValueError(f"it has {size} bytes; {LARGEST_TABLE} is the limit")
    content = path.read_bytes()
    if b"\0" in content:
        raise ValueError("it holds NUL bytes, as no text in UTF-8 does")
    return content


def _text(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")


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
            fix=FIX,
        )
    _check_folders(path, [str(cell).partition("-")[0] for cell in ids])


def _check_folders(path: Path, names: list[str]) -> None:
    """Sessions, sites and areas are folders of the repository; see `builders.shards.Job`."""
    if odd := [name for name in names if "/" in name]:
        raise CorpusError(
            f"a name in the cell list cannot be a folder: {odd[0]!r}", where=path, fix=FIX
        )
