"""Do the shards of a release say what its archives do? And what `builders validate` reports."""

from __future__ import annotations

import hashlib
import random
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
from datasets import load_dataset
from datasets.utils import tqdm
from rich.markup import escape
from rich.table import Table

from builders.builder import CorpusBuilder, repository_url
from builders.errors import CorpusError, CorpusWarning
from builders.facts import Verdict
from builders.reference import Key, Row, Shards, Sound, Source
from builders.release import Release
from builders.schema import subset_of

#: Of the differences in one shard, this many are listed and the others counted.
LISTED = 5
BATCH = 64
#: Columns of nested lists, whose first difference is looked for, and what their lists are of.
ARRAYS = {"response": "trial", "spectrogram": "band"}
VERDICTS = {True: "holds", False: "MISMATCH"}


@dataclass(frozen=True)
class Difference:
    """What the reference and the shards, or two archives, disagree about."""

    shard: str
    archive: str
    what: str

    def __str__(self) -> str:
        return f"{self.shard}, from {self.archive}: {self.what}"


@dataclass
class Comparison:
    """How much was compared, and what differs.

    Attributes
    ----------
    passes : int
        Passes over raw files that the reference has made.
    shards : list of str
        Paths, or globs, of the shards that they give rise to.
    rows, compared : int
        Rows of these shards, and how many of them were compared value by value.
    differences : list of Difference
        An archive or a shard that cannot be read is one as well.
    """

    passes: int = 0
    shards: list[str] = field(default_factory=list)
    rows: int = 0
    compared: int = 0
    differences: list[Difference] = field(default_factory=list)


def compare_release(
    builder: type[CorpusBuilder], release: Release, records: int, seed: int
) -> Comparison:
    """Read all archives with the reference, and compare with what `load_dataset` gives.

    Parameters
    ----------
    builder : type of CorpusBuilder
        The corpus, whose release is `release`.
    release : Release
        What the reference reads.
    records : int
        How many records of each shard are compared value by value; 0 for all. The keys of all
        records are compared, and all spectrograms, either way.
    seed : int
        Which records; the same seed picks the same.
    """
    try:
        sources = list(builder.reference(release))
        root = repository_url(builder.corpus)
        inside = [path.partition("/")[2] for path in fsspec.filesystem("corpus").find(root)]
    except Exception as error:  # as in `compare_shards`
        return Comparison(differences=[Difference("all shards", str(release.folder), _say(error))])
    result = compare(builder.corpus, sources, records, seed)
    if result.passes == len(sources):
        for path in inside:
            compared = any(fnmatchcase(path, each) for each in result.shards)
            if path.startswith(("data/", "stimuli/")) and not compared:
                why = "no archive gives rise to this shard"
                result.differences.append(Difference(path, str(release.folder), why))
    return result


def compare(corpus: str, sources: Sequence[Source], records: int, seed: int) -> Comparison:
    """`compare_release` for some of its sources."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CorpusWarning)  # whoever validates is told of all notes
        return _compare(corpus, sources, records, seed)


def _compare(corpus: str, sources: Sequence[Source], records: int, seed: int) -> Comparison:
    result, sounds = Comparison(), Sounds()
    for source in tqdm(sources, desc="Comparing", unit=" passes"):
        try:
            reading = source.read()
        except Exception as error:  # as in `compare_shards`
            why = f"the reference cannot read it: {_say(error)}"
            result.differences.append(Difference("all its shards", source.name, why))
            continue
        result.passes += 1
        for shards in reading.shards:
            result.shards.append(shards.path)
            found = compare_shards(corpus, shards, records, seed, result)
            few = list(islice(found, LISTED))
            if more := sum(1 for _ in found):
                few.append(f"{more} more differences")
            result.differences += [Difference(shards.path, shards.archive, what) for what in few]
        for sound in reading.sounds:
            sounds.add(sound)
    result.differences += sounds.differences()
    return result


def compare_shards(
    corpus: str, shards: Shards, records: int, seed: int, counts: Comparison
) -> Iterator[str]:
    """Stream what a shard's path or glob names, and say what is not as the reference has it.

    Parameters
    ----------
    corpus : str
        The corpus.
    shards : Shards
        What they should hold.
    records, seed : int
        As of `compare_release`.
    counts : Comparison
        Whose ``rows`` and ``compared`` are counted up.

    Yields
    ------
    str
        Which row differs, and where first.
    """
    try:
        expected = shards.keys
    except Exception as error:  # the reference has no error handling of its own
        yield f"the reference cannot read it: {_say(error)}"
        return
    spectrograms = bool(expected) and expected[0][1] is None
    size = len(expected) if spectrograms or not records else min(records, len(expected))
    wanted = set(random.Random(f"{seed} {shards.path}").sample(expected, size))
    found: list[Key] = []
    try:
        for batch in _stream(corpus, shards.path):
            cells = batch["cell_id"] if "cell_id" in batch.column_names else [None] * len(batch)
            keys = [(str(s), c and str(c)) for s, c in zip(batch["stim_id"], cells, strict=True)]
            for i, key in enumerate(keys):
                if key in wanted:
                    counts.compared += 1
                    yield from _differences(key, batch.slice(i, 1), shards.row(key))
            found += keys
    except Exception as error:  # whatever is wrong with one shard, the next is looked at
        yield f"cannot be read: {_say(error)}"
        return
    counts.rows += len(found)
    if found != expected:
        yield from _wrong_rows(found, expected)


def _stream(corpus: str, path: str) -> Iterator[pa.Table]:
    """Small tables with the rows of a shard."""
    url = repository_url(corpus) + path
    data = load_dataset("parquet", data_files=url, split="train", streaming=True)
    yield from data.with_format("arrow").iter(BATCH)


def _wrong_rows(found: list[Key], expected: list[Key]) -> Iterator[str]:
    if len(found) != len(expected):
        yield f"{len(found)} rows, the archive has {len(expected)} pairs with data"
    times, wanted = Counter(found), Counter(expected)
    for key in wanted - times:
        yield f"{_name(key)}: the archive has it, the shard has not"
    for key in times - wanted:
        yield f"{_name(key)}: the shard has it{' twice' if key in wanted else ', no archive has'}"
    if times == wanted:
        one, other = next(pair for pair in zip(found, expected, strict=True) if len({*pair}) > 1)
        yield f"{_name(one)}: stands where {_name(other)} should"


def _differences(key: Key, row: pa.Table, expected: Row) -> Iterator[str]:
    """The columns of a row that differ, each with its first difference."""
    if odd := set(row.column_names) ^ set(expected):
        yield f"{_name(key)}: columns {', '.join(sorted(odd))} are in one of the two alone"
        return
    for column, value in expected.items():
        if column in ARRAYS:
            rows = [np.asarray(each, np.float32) for each in value]
            lists = [each.values.to_numpy(zero_copy_only=False) for each in row[column][0].values]
            differs = _first_difference(ARRAYS[column], lists, rows)
        else:
            has = row[column][0].as_py()
            differs = "" if has == value else f"the shard has {has!r}, the archive {value!r}"
        if differs:
            yield f"{_name(key)}: {column}: {differs}"


def _first_difference(kind: str, found: Sequence[Any], expected: Sequence[Any]) -> str:
    """Where nested lists first differ, or ""."""
    if len(found) != len(expected):
        return f"the shard has {len(found)} {kind}s, the archive {len(expected)}"
    for i, (one, other) in enumerate(zip(found, expected, strict=True)):
        if len(one) != len(other):
            return f"{kind} {i}: the shard has {len(one)} bins, the archive {len(other)}"
        if len(bins := np.flatnonzero((one != other) & ~(np.isnan(one) & np.isnan(other)))):
            first = int(bins[0])
            values = f"the shard has {one[first]:g}, the archive {other[first]:g}"
            return f"{kind} {i}, bin {first}: {values}; {len(bins)} bins of this {kind} differ"
    return ""


class Sounds:
    """Spectrograms by their content: what should be the same, and what must not be.

    Validation sounds of one name and one length are played in many sessions, of which each has a
    copy of its own: they are one sound. No model is tested fairly on a sound that it was fitted to:
    no estimation sound equals a validation sound, whatever their names.
    """

    def __init__(self) -> None:
        self._copies: dict[tuple[str, tuple[int, ...]], dict[str, tuple[str, str]]] = {}
        self._where: dict[str, dict[str, tuple[str, str]]] = {"est": {}, "val": {}}

    def add(self, sound: Sound) -> None:
        """Remember a sound by the hash of its float32 values; the values are not kept."""
        shape = sound.spectrogram.shape
        content = np.ascontiguousarray(sound.spectrogram)
        key = hashlib.sha256(repr(shape).encode() + content.tobytes()).hexdigest()
        place = sound.archive, sound.stim
        self._where[subset_of(sound.stim)].setdefault(key, place)
        if subset_of(sound.stim) == "val":
            self._copies.setdefault((sound.stim, shape), {}).setdefault(key, place)

    def differences(self) -> Iterator[Difference]:
        """Copies that are not the same, and sounds that are in both subsets."""
        for (stim, shape), copies in self._copies.items():
            (first, _), *others = copies.values()
            for archive, _ in others:
                why = f"{stim}: not the {shape[0]} x {shape[1]} spectrogram that it is in {first}"
                yield Difference("stimuli", archive, why)
        for key, (archive, stim) in self._where["est"].items():
            if key in self._where["val"]:
                first, other = self._where["val"][key]
                why = f"{stim}: an estimation sound, and the same as {other} in {first}"
                yield Difference("stimuli", archive, why)


def _name(key: Key) -> str:
    return " of ".join([key[0], *([key[1]] if key[1] else [])])


def _say(error: Exception) -> str:
    return str(error) if isinstance(error, CorpusError) else f"{type(error).__name__}: {error}"


def report(verdicts: Sequence[Verdict], comparison: Comparison | None) -> dict[str, Any]:
    """All that was found, for ``--json``."""
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
    """All that was found, for people: what `rich` prints."""
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
        yield (
            f"{comparison.passes} passes over archives; {comparison.rows} rows in "
            f"{len(comparison.shards)} shards, {comparison.compared} of them compared value by "
            f"value; {len(comparison.differences)} differences"
        )
