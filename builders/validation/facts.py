"""Does a release say what was published about it?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from datasets.utils import tqdm

from builders.errors import CorpusError
from builders.release.local import Release

Measure = Callable[[Release], Mapping[str, object]]


@dataclass(frozen=True)
class Fact:
    """Something that was published about a release.

    Attributes
    ----------
    name : str
        What it is about.
    expected : object
        What was published: compared with what is found by ``==``.
    source : str
        Where it was published.
    reads : str
        The raw files that `measure` opens: lists of cells, or recordings.
    measure : callable
        Finds it in a release, under its name, with others: facts that share it are measured once.
    """

    name: str
    expected: object
    source: str
    reads: str
    measure: Measure


def declare(
    reads: str, measure: Measure, source: str, expected: Mapping[str, object]
) -> list[Fact]:
    """Facts from one source that one `measure` finds: their names to what was published."""
    return [Fact(name, value, source, reads, measure) for name, value in expected.items()]


@dataclass(frozen=True)
class Verdict:
    """A fact, and what was found in its place.

    Attributes
    ----------
    fact : Fact
    found : object
        None where it could not be measured, or the measure did not come upon it.
    error : str
        Why it could not be measured, or "".
    """

    fact: Fact
    found: object
    error: str = ""

    @property
    def holds(self) -> bool:
        """Whether what was found is what was published."""
        return self.found == self.fact.expected


def check_facts(facts: Sequence[Fact], release: Release) -> list[Verdict]:
    """Measure facts one after the other; one that cannot be measured does not hold."""
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
