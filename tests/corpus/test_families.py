"""What corpora of one format share: subsets by counts, sessions in several archives, rasters."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.conventions import subsets_by_count
from builders.validation import reference as slow


@pytest.mark.parametrize(
    ("counts", "val"),
    [
        ({"a": 1, "b": 20}, "b"),  # two counts: the larger
        ({"a": 3, "b": 4, "c": 3}, "b"),
        ({"a": 1, "b": 2, "c": 30}, "c"),  # more: above the mean of the counts
        ({"a": 1, "b": 20, "c": 30}, "bc"),
        ({"a": 10, "b": 15, "c": 20}, "c"),  # not the mean itself
        ({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 9}, "g"),
        (dict.fromkeys("fedcba", 4), "f"),  # one: the last fifth of the sorted names
        (dict.fromkeys("abcd", 4), ""),
        ({"a": 0, "b": 2, "c": 7}, "c"),  # what was never presented decides nothing
        ({"a": 0, "b": 0}, ""),
        ({}, ""),
    ],
)
def test_the_most_repeated_stimuli_are_validation(counts: dict[str, int], val: str) -> None:
    found = subsets_by_count(counts)
    assert {stim for stim, subset in found.items() if subset == "val"} == {*val}
    assert found.keys() == counts.keys()


@given(st.dictionaries(st.text("abc", max_size=3), st.integers(0, 12)))
def test_two_ways_to_split_by_counts_agree(counts: dict[str, int]) -> None:
    found = subsets_by_count(counts)
    assert found == slow.subsets_by_count(counts)
    assert Counter(found.values()).total() == len(counts)
