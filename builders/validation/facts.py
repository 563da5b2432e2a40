"""Check a release against published facts about it, such as its number of cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from datasets.utils import tqdm

from builders.errors import CorpusError
from builders.release.local import Release

Measure = Callable[[Release], Mapping[str, object]]


@dataclass(frozen=True)
class Fact:
    """A published fact about a release.

    Attributes
    ----------
    name : str
        What the fact is about.
    expected : object
        The published value; compared with the measured value by ``==``.
    source : str
        Where it was published.
    reads : str
        The raw files that `measure` opens: cell lists or recordings.
    measure : callable
        Takes a release, returns a mapping of fact names to values. Facts with the same `measure`
        call it once.
    """

    name: str
    expected: object
    source: str
    reads: str
    measure: Measure


def declare(
    reads: str, measure: Measure, source: str, expected: Mapping[str, object]
) -> list[Fact]:
    """Make facts that share `reads`, `measure` and `source`; `expected` maps names to values."""
    return [Fact(name, value, source, reads, measure) for name, value in expected.items()]


@dataclass(frozen=True)
class Verdict:
    """A fact, and the value that was measured.

    Attributes
    ----------
    fact : Fact
    found : object
        The measured value; None if measuring failed or gave no value for this fact.
    error : str
        Why measuring failed, or "".
    """

    fact: Fact
    found: object
    error: str = ""

    @property
    def holds(self) -> bool:
        """Whether the measured value equals the published one."""
        return self.found == self.fact.expected


def check_facts(facts: Sequence[Fact], release: Release) -> list[Verdict]:
    """Measure facts one after the other; a fact that cannot be measured does not hold."""
    looks: dict[Measure, Mapping[str, object] | CorpusError] = {}
    verdicts = []
    for fact in tqdm(facts, desc="Facts", leave=False, delay=2):
        if fact.measure not in looks:
            try:
                looks[fact.measure] = fact.measure(release)
            except CorpusError as error:
                looks[fact.measure] = error
        look = looks[fact.measure]
        if isinstance(look, CorpusError):
            verdicts.append(Verdict(fact, None, str(look)))
        else:
            verdicts.append(Verdict(fact, look.get(fact.name)))
    return verdicts
