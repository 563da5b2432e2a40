"""Report the results of a validation, as text for people or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from builders.validation.differences import Comparison
from builders.validation.facts import Verdict

VERDICTS = {True: "holds", False: "MISMATCH"}


def report(verdicts: Sequence[Verdict], comparison: Comparison | None) -> dict[str, Any]:
    """All results of a validation as a dict, for ``--json``."""
    facts = [
        {
            **{name: getattr(each.fact, name) for name in ("name", "expected", "source", "reads")},
            "found": each.found,
            "error": each.error,
            "verdict": VERDICTS[each.holds],
        }
        for each in verdicts
    ]
    return {"facts": facts, "deep": asdict(comparison) if comparison else None}


def show(verdicts: Sequence[Verdict], comparison: Comparison | None) -> Iterator[Any]:
    """Yield all results of a validation, to be printed by `rich`."""
    table = Table("fact", "expected", "found", "verdict", "source", "read")
    sources = list(dict.fromkeys(each.fact.source for each in verdicts))
    errors = list(dict.fromkeys(each.error for each in verdicts if each.error))
    for each in verdicts:
        fact, number = each.fact, sources.index(each.fact.source) + 1
        found = "nothing" if each.found is None else each.found
        found = f"error {errors.index(each.error) + 1}" if each.error else found
        cells = (fact.name, fact.expected, found, VERDICTS[each.holds], number, fact.reads)
        table.add_row(*(escape(str(cell)) for cell in cells), style="" if each.holds else "red")
    yield table
    for number, source in enumerate(sources, 1):
        yield escape(f"source {number}: {source}")
    for number, error in enumerate(errors, 1):
        yield escape(f"error {number}: {error}")
    held = sum(each.holds for each in verdicts)
    yield f"{held} of {len(verdicts)} facts hold"
    if comparison:
        yield from (escape(str(difference)) for difference in comparison.differences)
        yield from (escape(f"leakage: {leak}") for leak in comparison.leaks)
        if comparison.leaks:
            yield f"{len(comparison.leaks)} stimuli are in both subsets"
        yield (
            f"{comparison.passes} passes over archives; {comparison.rows} rows in "
            f"{len(comparison.shards)} shards, {comparison.compared} of them compared value by "
            f"value; {len(comparison.differences)} differences"
        )
