"""Preprocess data as the papers do, when rows are read; files on disk stay as released.

A spectrogram is log compressed and scaled to [0, 1] per frequency band, a response is scaled to
[0, 1] per cell. The scales are fitted once, on the estimation data:

>>> bands = BandScaler.fit(load_dataset("./wingert2026", "stimuli"))      # doctest: +SKIP
>>> stimuli = load_dataset("./wingert2026", "stimuli").map(bands)         # doctest: +SKIP

>>> records = load_dataset("./wingert2026", "A1", streaming=True)         # doctest: +SKIP
>>> scaled = records.map(CellScaler.fit(records))                         # doctest: +SKIP

Bins that were not recorded are NaN. Fits ignore NaN and infinite values. Scaling and smoothing keep
NaN as NaN, and do not spread it to neighbouring bins.

`map` stores a scaled copy; of the stimuli it is small. `with_transform` stores nothing and scales
whenever a row is read, but what has a transform cannot be joined or measured. To scale without a
copy, call a scaler in the training loop: ``bands.scale(batch["spectrogram"])``. A mapped stream no
longer knows its columns' types; to keep them, pass the original features:
``map(scaler, features=...)``.

Source of the preprocessing: the code and notebooks published with Pennington & David, PLoS Comput
Biol 2023, and Wingert et al., Nat Neurosci 2026.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from builders.errors import CorpusError
from builders.ragged import flatten_matrices, is_list, n_axes, pad_trials
from builders.rows import arrow_batches

#: A NumPy array or a torch tensor; a function returns the type that it was given.
Array = TypeVar("Array")

#: Values of scaled spectrograms below this are set to 0.
FLOOR = 1e-6


def log_compress(x: Array, offset: float = -1.0) -> Array:
    """``log((x + d) / d)`` with ``d = 10**offset``: the papers' compression of a spectrogram.

    It is computed as ``log1p(x / d)``, which is equal and keeps full precision for small `x`.

    Parameters
    ----------
    x : numpy.ndarray or torch.Tensor
        Values of any shape, not negative.
    offset : float
        Exponent of d; with the papers' -1, the result is ``log(10 x + 1)``.

    Returns
    -------
    numpy.ndarray or torch.Tensor
        Of the same shape; float32 stays float32. NaN where `x` is NaN or below -d.

    Examples
    --------
    >>> log_compress(np.array([0.0, 0.1, 0.3]))
    array([0.        , 0.69314718, 1.38629436])
    """
    ratio: Any = x / 10.0**offset
    compressed: Array = ratio.log1p() if hasattr(ratio, "log1p") else np.log1p(ratio)
    return compressed


@dataclass(frozen=True)
class BandScaler:
    """Log compression, then min-max per frequency band, for spectrograms.

    Parameters
    ----------
    low, high : tuple of float
        Per band, the lowest and highest log compressed value in the fit.
    offset : float
        Offset of the log compression, see `log_compress`.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    offset: float = -1.0

    @classmethod
    def fit(cls, stimuli: Any, *, subset: str | None = "est", offset: float = -1.0) -> BandScaler:
        """Find each band's extremes over all stimuli and bins, in one pass; NaN is ignored.

        Parameters
        ----------
        stimuli : Dataset, IterableDataset, DatasetDict or IterableDatasetDict
            The config ``stimuli`` of a corpus, or rows with a column ``spectrogram`` (F, T).
        subset : str or None
            Which rows to fit; see `arrow_batches`.
        offset : float
            Offset of the log compression.

        Raises
        ------
        CorpusError
            If there is nothing to fit, if spectrograms differ in their number of bands, or if a
            band has no value.
        """
        bands: set[int] = set()
        lows: list[NDArray[Any]] = []
        highs: list[NDArray[Any]] = []
        for batch in arrow_batches(stimuli, ["spectrogram"], subset):
            values, lengths, counts = flatten_matrices(batch["spectrogram"])
            bands.update(counts.tolist())
            if len(bands) > 1:
                raise CorpusError(
                    "cannot fit the frequency bands",
                    why=f"spectrograms differ in their number of bands: {sorted(bands)}",
                    fix="fit the stimuli of one corpus at a time",
                )
            low, high = extremes(log_compress(values, offset), lengths)
            lows.append(np.fmin.reduce(low.reshape(-1, *bands)))
            highs.append(np.fmax.reduce(high.reshape(-1, *bands)))
        low, high = np.fmin.reduce(lows), np.fmax.reduce(highs)
        if np.isnan(low).any():
            raise CorpusError(
                "cannot fit the frequency bands",
                why=f"no finite value in the bands {np.flatnonzero(np.isnan(low)).tolist()}",
                fix="leave the stimuli out whose spectrograms are damaged",
            )
        return cls(tuple(low.tolist()), tuple(high.tolist()), offset)

    def scale(self, spectrogram: Array) -> Array:
        """Compress and scale a spectrogram that is as released.

        Parameters
        ----------
        spectrogram : numpy.ndarray or torch.Tensor, (..., F, T)

        Returns
        -------
        numpy.ndarray or torch.Tensor, (..., F, T)
            float32 stays float32. [0, 1] for the stimuli of the fit; others may exceed 1. Values
            below 1e-6 become 0, and so does a band that was constant in the fit. NaN stays NaN.

        Raises
        ------
        CorpusError
            If the number of bands differs from the fit.
        """
        scaled: Any = log_compress(spectrogram, self.offset)
        if scaled.ndim < 2 or scaled.shape[-2] != len(self.low):
            raise CorpusError(
                "cannot scale a spectrogram",
                why=f"its shape is {tuple(scaled.shape)}, the fit had {len(self.low)} bands",
                fix="spectrograms are (bands, bins); fit each corpus' stimuli on their own",
            )
        low, high = np.array(self.low)[:, None], np.array(self.high)[:, None]
        span = np.where(high > low, high - low, np.inf)
        scaled = (scaled - _like(scaled, low)) / _like(scaled, span)
        scaled[scaled < FLOOR] = 0
        result: Array = scaled
        return result

    def __call__(self, rows: Mapping[str, Any]) -> dict[str, Any]:
        """Scale the ``spectrogram`` of a row or a batch of rows; other columns are unchanged.

        For `Dataset.with_transform` and `IterableDataset.map` (of rows, or batched), or in a loop.
        Lists become float32 arrays.
        """
        spectrogram = _column(rows, "spectrogram")
        one = n_axes(spectrogram) == 2
        scaled = (
            self.scale(_array(spectrogram)) if one else [self.scale(_array(x)) for x in spectrogram]
        )
        return {**rows, "spectrogram": scaled}

    def to_json(self) -> str:
        """This scaler as JSON, exactly; `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> BandScaler:
        """The scaler that `to_json` wrote; a `CorpusError` if it is not one."""
        try:
            found = json.loads(text)
            low, high = (tuple(map(float, found.pop(name))) for name in ("low", "high"))
            if len(low) != len(high):
                raise ValueError(f"{len(low)} lows and {len(high)} highs")
            return cls(low, high, float(found.pop("offset")))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _not_json(cls, error) from error


@dataclass(frozen=True)
class CellScaler:
    """Min-max per cell, for responses.

    Parameters
    ----------
    extremes : dict of str to (float, float)
        For each cell, the lowest and the highest value over all trials and stimuli of the fit, in
        spikes per bin.
    """

    extremes: Mapping[str, tuple[float, float]]

    @classmethod
    def fit(cls, records: Any, *, subset: str | None = "est") -> CellScaler:
        """Find each cell's extremes over all trials, stimuli and bins, in one pass.

        NaN is ignored; a cell without any other value is not in the fit.

        Parameters
        ----------
        records : Dataset, IterableDataset, DatasetDict or IterableDatasetDict
            Records of any corpus, or rows with columns ``cell_id`` and ``response`` (R, T).
        subset : str or None
            Which rows to fit; see `arrow_batches`.

        Raises
        ------
        CorpusError
            If there is nothing to fit.
        """
        found: dict[str, tuple[float, float]] = {}
        for batch in arrow_batches(records, ["cell_id", "response"], subset):
            values, lengths, trials = flatten_matrices(batch["response"])
            sizes = np.diff(np.append(0, lengths.cumsum())[np.append(0, trials.cumsum())])
            lows, highs = (part.tolist() for part in extremes(values, sizes))
            for cell, low, high in zip(batch["cell_id"].to_pylist(), lows, highs, strict=True):
                if low == low:
                    before = found.get(cell, (low, high))
                    found[cell] = min(low, before[0]), max(high, before[1])
        return cls(found)

    def scale(self, response: Array, cell_id: str) -> Array:
        """Scale the response of a cell.

        Parameters
        ----------
        response : numpy.ndarray or torch.Tensor
            Spike counts of any shape, usually (R, T).
        cell_id : str

        Returns
        -------
        numpy.ndarray or torch.Tensor
            Of the same shape; float32 stays float32. [0, 1] for the responses of the fit; others
            may lie outside. All 0 for a cell that was constant in the fit. NaN stays NaN.

        Raises
        ------
        CorpusError
            If the cell was not in the fit.
        """
        if cell_id not in self.extremes:
            raise CorpusError(
                "cannot scale a response",
                why=f"the cell {cell_id!r} was not in the fit, of {len(self.extremes)} cells",
                fix="fit on records that hold this cell, or leave its records out with .filter",
            )
        low, high = self.extremes[cell_id]
        span = high - low if high > low else float("inf")
        counts: Any = response
        scaled: Array = (counts - low) / span
        return scaled

    def __call__(self, rows: Mapping[str, Any]) -> dict[str, Any]:
        """Scale the ``response`` of a row or a batch of rows; other columns are unchanged.

        For `Dataset.with_transform` and `IterableDataset.map` (of rows, or batched), or in a loop.
        Needs the column ``cell_id``. Lists become float32 arrays. Trials that differ in length
        become an array of arrays; torch tensors become a list of tensors.
        """
        response, cells = _column(rows, "response"), _column(rows, "cell_id")
        scaled: Any
        if isinstance(cells, str):
            scaled = self._scale_trials(response, cells)
        else:
            pairs = zip(response, cells, strict=True)
            scaled = [self._scale_trials(trials, cell) for trials, cell in pairs]
        return {**rows, "response": scaled}

    def _scale_trials(self, response: Any, cell_id: str) -> Any:
        if not (is_list(response) and len(set(map(len, response))) > 1):
            return self.scale(_array(response), cell_id)
        trials = [self.scale(_array(trial), cell_id) for trial in response]
        if hasattr(trials[0], "new_tensor"):
            return trials
        # Not a list: `Dataset.map` cannot write lists of arrays beside arrays.
        scaled = np.empty(len(trials), object)
        scaled[:] = trials
        return scaled

    def to_json(self) -> str:
        """This scaler as JSON, exactly; `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CellScaler:
        """The scaler that `to_json` wrote; a `CorpusError` if it is not one."""
        try:
            found = json.loads(text)["extremes"].items()
            return cls({cell: (float(low), float(high)) for cell, (low, high) in found})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _not_json(cls, error) from error


def smooth(
    response: ArrayLike, window_ms: float = 21.0, dt_ms: float = 10.0
) -> NDArray[np.floating[Any]]:
    """Smooth a response: convolve it along time with a Hann window of unit area.

    The window is ``(1 + cos(2 pi t / W)) / W`` for ``|t| < W / 2``. The weight of a bin is the
    window's area within the bin, i.e. how a spike at a bin's centre is spread. (Sampling the window
    at bin centres instead would give almost 0 next to t = 0 for bins of about W / 2: 0.006 of the
    peak for 21 ms at 10 ms.) 21 ms at bins of 10 ms gives 3 weights, 0.103, 0.794, 0.103; at bins
    of 1 ms the usual 21. A window no wider than a bin changes nothing.

    At the edges, and next to NaN, the weights of the existing bins are scaled to sum to 1. So
    nothing is assumed about missing bins, and a constant response stays constant (the sum over time
    is then only nearly preserved).

    Parameters
    ----------
    response : array_like, (..., T)
        Spike counts or rates of trials, or a PSTH; NaN (or infinite) where data are missing.
        Trials as a list may differ in length.
    window_ms : float
        W, the window's full width; 21 ms as in Hsu, Borst & Theunissen, Network 2004.
    dt_ms : float
        Width of a bin, in milliseconds.

    Returns
    -------
    numpy.ndarray, (..., T)
        float32 stays float32; NaN where data are missing, and after the end of a trial that is
        shorter than others.

    Raises
    ------
    CorpusError
        If a width is not positive.

    Examples
    --------
    >>> smooth([0.0, 0.0, 1.0, 0.0, 0.0]).round(3)
    array([0.   , 0.103, 0.794, 0.103, 0.   ])
    """
    if not (window_ms > 0 and dt_ms > 0):
        raise CorpusError(
            "cannot smooth a response",
            why=f"a window of {window_ms} ms at bins of {dt_ms} ms",
            fix="give positive widths in milliseconds",
        )
    values = pad_trials(response)
    values = values.astype(np.result_type(values, np.float32))
    reach = max(0, int(np.ceil(window_ms / dt_ms / 2 - 0.5)))
    edges = (np.arange(-reach, reach + 2) - 0.5) * dt_ms / window_ms
    edges = edges.clip(-0.5, 0.5)
    kernel = np.diff(edges + np.sin(2 * np.pi * edges) / (2 * np.pi)).astype(values.dtype)
    padding = [(0, 0)] * (values.ndim - 1) + [(reach, reach)]

    def convolve(x: NDArray[Any]) -> NDArray[Any]:
        windows = sliding_window_view(np.pad(x, padding), len(kernel), axis=-1)
        convolved: NDArray[Any] = windows @ kernel
        return convolved

    known = np.isfinite(values)
    total, weight = convolve(np.where(known, values, 0)), convolve(known.astype(values.dtype))
    smoothed: NDArray[Any] = np.full_like(values, np.nan)
    np.divide(total, weight, out=smoothed, where=known)
    return smoothed


def extremes(values: NDArray[Any], sizes: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The lowest and the highest value of each group; groups are consecutive parts of `values`.

    Parameters
    ----------
    values : numpy.ndarray, (N,)
        NaN and infinite values are ignored.
    sizes : numpy.ndarray, (G,)
        Size of each group; they sum to N.

    Returns
    -------
    low, high : numpy.ndarray, (G,)
        NaN for a group that has no value.
    """
    low, high = np.full((2, len(sizes)), np.nan, np.result_type(values, np.float32))
    filled = sizes > 0
    if filled.any():
        starts = (sizes.cumsum() - sizes)[filled]
        values = np.where(np.isfinite(values), values, np.nan)
        low[filled] = np.fmin.reduceat(values, starts)
        high[filled] = np.fmax.reduceat(values, starts)
    return low, high


def _column(rows: Mapping[str, Any], name: str) -> Any:
    if name not in rows:
        raise CorpusError(
            f"cannot scale rows without the column {name!r}", why=f"they have {', '.join(rows)}"
        )
    return rows[name]


def _array(value: Any) -> Any:
    """Convert nested lists to float32, the type of their columns; return arrays unchanged."""
    if not isinstance(value, list):
        return value
    try:
        return np.array(value, np.float32)
    except ValueError as error:
        raise CorpusError("cannot scale lists of unequal lengths", why=error) from error


def _like(x: Any, values: NDArray[np.float64]) -> Any:
    """Convert `values` to the type of `x`: an array or a tensor of the same dtype."""
    if hasattr(x, "new_tensor"):
        return x.new_tensor(values)
    return values.astype(x.dtype)


def _not_json(cls: type, error: Exception) -> CorpusError:
    return CorpusError(
        f"cannot read a {cls.__name__} from JSON",
        why=f"{type(error).__name__}: {error}",
        fix=f"give the text that {cls.__name__}.to_json() returned",
    )
