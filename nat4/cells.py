"""The job of ``cells.parquet``: the cells of both areas, and if they have validation data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache

import pyarrow as pa
from datasets import Features, Value

from builders.errors import CorpusError
from builders.nems.sessions import no_archive
from builders.release.archive import Archive
from builders.schema import CELL_ID
from builders.shards.arrow import stored, table
from builders.shards.job import Job
from builders.shards.jobs import left_out
from builders.shards.notes import Note, Notes
from nat4.population import Area, column_type, match_cells, typed_column
from nat4.records import AUDITORY

MATCH = {"has_val": Value("bool"), "val_match": Value("string")}


def cells_job(areas: list[Area]) -> Job:
    """The job that writes all cells, with all columns of the cell lists and how they matched."""
    published = [area.published() for area in areas]
    names = list(dict.fromkeys(name for each in published for name in each.column_names))
    types = {
        name: column_type([each[name] for each in published if name in each.column_names])
        for name in names
    }
    others = Features.from_arrow_schema(pa.schema(types.items()))
    features = Features({**CELL_ID, **AUDITORY, **MATCH, **others})
    path = "cells.parquet"
    excluded = areas[0].excluded

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
            yield table(columns, stored(features))

    def archives() -> list[Archive]:
        return [archive for area in areas for archive in (area.archive(), *area.site_archives())]

    cache_key = cache(lambda: json.dumps([[area.texts.to_pylist() for area in areas], excluded]))
    return Job(
        "cells", (path,), features, archives, cache_key, lambda notes: {path: of_areas(notes)}
    )


def _matches(
    area: Area, site: str, excluded: dict[str, str]
) -> tuple[dict[str, tuple[bool | None, str | None]], str]:
    """For each cell of a site, whether it has validation data and how it matched; and a note.

    Both are None if the site's recording cannot be read.
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
