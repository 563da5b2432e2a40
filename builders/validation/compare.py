"""Compare the shards of a release with the reference that reads its archives."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
from datasets import load_dataset
from datasets.utils import tqdm

from builders.corpus.builder import CorpusBuilder
from builders.errors import CorpusWarning
from builders.release.local import Release
from builders.urls import repository_url
from builders.validation.differences import Comparison, Difference, message_of, name_of
from builders.validation.reference import Key, Row, Shards, Source
from builders.validation.sounds import SoundCopies

#: How many differences per shard are listed; the others are only counted.
DIFFERENCES_LISTED = 5
BATCH = 64
#: Columns of nested lists, for which the first difference is reported; and what one list is.
COMPARED_ARRAYS = {"response": "trial", "spectrogram": "band"}


def compare_release(
    corpus: type[CorpusBuilder], release: Release, records: int, seed: int
) -> Comparison:
    """Read all archives with the reference, and compare with what `load_dataset` returns.

    Parameters
    ----------
    corpus : type of CorpusBuilder
        The corpus, whose release is `release`.
    release : Release
        The release that the reference reads.
    records : int
        How many records of each shard are compared value by value; 0 for all. The keys of all
        records, and all spectrograms, are always compared.
    seed : int
        Seed of the random choice of records.
    """
    try:
        sources = list(corpus.reference(release))
        root = repository_url(corpus.corpus)
        inside = [path.partition("/")[2] for path in fsspec.filesystem("corpus").find(root)]
    except Exception as error:  # as in `compare_shards`
        return Comparison(
            differences=[Difference("all shards", str(release.folder), message_of(error))]
        )
    result = compare(corpus.corpus, sources, records, seed)
    if result.passes == len(sources):
        for path in inside:
            compared = any(fnmatchcase(path, each) for each in result.shards)
            if path.startswith(("data/", "stimuli/")) and not compared:
                why = "no archive gives rise to this shard"
                result.differences.append(Difference(path, str(release.folder), why))
    return result


def compare(corpus: str, sources: Sequence[Source], records: int, seed: int) -> Comparison:
    """As `compare_release`, for some sources of the reference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CorpusWarning)  # the validation prints all notes anyway
        return _compare(corpus, sources, records, seed)


def _compare(corpus: str, sources: Sequence[Source], records: int, seed: int) -> Comparison:
    result, sounds = Comparison(), SoundCopies()
    for source in tqdm(sources, desc="Comparing", unit=" passes"):
        try:
            reading = source.read()
        except Exception as error:  # as in `compare_shards`
            why = f"the reference cannot read it: {message_of(error)}"
            result.differences.append(Difference("all its shards", source.name, why))
            continue
        result.passes += 1
        for shards in reading.shards:
            result.shards.append(shards.path)
            found = compare_shards(corpus, shards, records, seed, result)
            few = list(islice(found, DIFFERENCES_LISTED))
            if more := sum(1 for _ in found):
                few.append(f"{more} more differences")
            result.differences += [Difference(shards.path, shards.archive, what) for what in few]
        for sound in reading.sounds:
            sounds.add(sound)
    result.differences += sounds.differences()
    result.leaks += sounds.leaks()
    return result


def compare_shards(
    corpus: str, shards: Shards, records: int, seed: int, counts: Comparison
) -> Iterator[str]:
    """Stream the shards of a path or glob, and yield their differences from the reference.

    Parameters
    ----------
    corpus : str
        The corpus.
    shards : Shards
        The expected content.
    records, seed : int
        As in `compare_release`.
    counts : Comparison
        Its ``rows`` and ``compared`` are increased.

    Yields
    ------
    str
        Which row differs, and at which value first.
    """
    try:
        expected = shards.keys
    except Exception as error:  # the reference has no error handling of its own
        yield f"the reference cannot read it: {message_of(error)}"
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
    except Exception as error:  # any error in one shard must not stop the others
        yield f"cannot be read: {message_of(error)}"
        return
    counts.rows += len(found)
    if found != expected:
        yield from _wrong_rows(found, expected)


def _stream(corpus: str, path: str) -> Iterator[pa.Table]:
    """Yield the rows of a shard in small tables."""
    url = repository_url(corpus) + path
    data = load_dataset("parquet", data_files=url, split="train", streaming=True)
    yield from data.with_format("arrow").iter(BATCH)


def _wrong_rows(found: list[Key], expected: list[Key]) -> Iterator[str]:
    if len(found) != len(expected):
        yield f"{len(found)} rows, the archive has {len(expected)} pairs with data"
    times, wanted = Counter(found), Counter(expected)
    for key in wanted - times:
        yield f"{name_of(key)}: the archive has it, the shard has not"
    for key in times - wanted:
        yield f"{name_of(key)}: the shard has it{' twice' if key in wanted else ', no archive has'}"
    if times == wanted:
        one, other = next(pair for pair in zip(found, expected, strict=True) if len({*pair}) > 1)
        yield f"{name_of(one)}: stands where {name_of(other)} should"


def _differences(key: Key, row: pa.Table, expected: Row) -> Iterator[str]:
    """Yield a message for each column of a row that differs, with its first difference."""
    if odd := set(row.column_names) ^ set(expected):
        yield f"{name_of(key)}: columns {', '.join(sorted(odd))} are in one of the two alone"
        return
    for column, value in expected.items():
        if column in COMPARED_ARRAYS:
            rows = [np.asarray(each, np.float32) for each in value]
            lists = [each.values.to_numpy(zero_copy_only=False) for each in row[column][0].values]
            differs = _first_difference(COMPARED_ARRAYS[column], lists, rows)
        else:
            has = row[column][0].as_py()
            differs = "" if has == value else f"the shard has {has!r}, the archive {value!r}"
        if differs:
            yield f"{name_of(key)}: {column}: {differs}"


def _first_difference(kind: str, found: Sequence[Any], expected: Sequence[Any]) -> str:
    """A message with the first difference of nested lists, or ""."""
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
