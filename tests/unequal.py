"""A few records whose responses and spectrograms differ in length, in every way that may occur."""

from __future__ import annotations

from datasets import Dataset, Features, List, Value

NAN, INF = float("nan"), float("inf")

MATRIX = List(List(Value("float32")))

#: By stimulus, two bands each.
SPECTROGRAMS: dict[str, list[list[float]]] = {
    "longer": [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]],
    "shorter": [[11, 12], [13, 14]],
    "one more": [[15, 16, 17, 18], [19, 20, 21, 22]],
    "one less": [[23, 24], [25, 26]],
    "none": [[], []],
    "equal": [[27, 28, 29], [30, 31, 32]],
}

#: By stimulus and cell; trials differ in length, and some bins were not recorded.
RESPONSES: dict[tuple[str, str], list[list[float]]] = {
    ("longer", "x"): [[1, 0, 2]],
    ("longer", "y"): [[0, 3, 0], [4, 0]],
    ("shorter", "x"): [[1, 2, 0, 3, 0, 0]],
    ("shorter", "y"): [[5], [0, 1, 2, 0, 0, 1]],
    ("one more", "x"): [[0, 1, 0]],
    ("one less", "x"): [[0, 4, 1]],
    ("none", "x"): [[1, 0]],
    ("equal", "x"): [[2, NAN, 1], [0, 1, INF]],
    ("equal", "y"): [[NAN, NAN, NAN]],
}


def records(*without: str) -> Dataset:
    """A record for each of `RESPONSES`, but for those to some stimuli."""
    kept = {pair: trials for pair, trials in RESPONSES.items() if pair[0] not in without}
    names, cells = zip(*kept, strict=True)
    return Dataset.from_dict(
        {"stim_id": names, "cell_id": cells, "response": list(kept.values())},
        Features({"stim_id": Value("string"), "cell_id": Value("string"), "response": MATRIX}),
    )


def stimuli(*without: str) -> Dataset:
    """A stimulus for each of `SPECTROGRAMS`, but for some."""
    kept = {name: bands for name, bands in SPECTROGRAMS.items() if name not in without}
    return Dataset.from_dict(
        {"stim_id": list(kept), "spectrogram": list(kept.values())},
        Features({"stim_id": Value("string"), "spectrogram": MATRIX}),
    )
