"""Measure how much of a response the stimulus drives, and how much of that a model predicts.

Signal power and noise power, and their ratio, need no model (Sahani & Linden, "How linear are
auditory cortical responses?", NIPS 15, 2003). With them, the correlation of a prediction can be
compared with the best that any model could reach (Hsu, Borst & Theunissen, Network 15, 2004;
Schoppe et al., Front Comput Neurosci 10:10, 2016).

Every function takes a ``response`` in one of these forms:

* an array (R, T), R trials of T bins, or nested lists; trials as a list may differ in length;
* an array (..., R, T), such as (cells, R, T) of a population: the result has one value per cell;
* a list with one of the above per stimulus; R and T may differ between stimuli.

NaN and infinite values mark missing data: padding, a trial that ended early, or a part that was not
recorded. No function counts these bins.

A prediction may be longer or shorter than the response, as a spectrogram may. Both begin at bin 0,
and only the bins that both have are compared.

Several stimuli count as if they followed each other in time: powers are variances about one mean
over all stimuli, so that differences between the mean responses to them are signal. Trials of
different stimuli are not joined: which to join is arbitrary, and impossible where R differs.
Instead, each stimulus gives, from its own R trials, the noise that is left in their mean, weighted
by its number of bins. Where R is equal, this is the average over all ways to join the trials.

An estimate uses the bins in which two or more trials have values. It is unbiased for noise with any
autocorrelation if the trials of a stimulus are equally long (they may be padded), and always
unbiased for noise that is independent between bins. Otherwise one term, the variance of the trials'
means, is approximate. Single trials allow no estimate: the result is NaN.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from builders.conventions import BIN_SECONDS
from builders.errors import CorpusError
from builders.ragged import Floats, flatten_matrices, is_list, n_axes, pad_trials
from builders.rows import arrow_batches

#: Powers below this fraction of the mean square are rounding errors and set to zero.
ROUNDING = 1e-12


def signal_power(response: Any) -> Floats:
    """Signal power: the variance over time of the part of a response that all trials share.

    Sahani & Linden 2003: ``P(signal) = (R P(mean of trials) - mean of P(trial)) / (R - 1)``, with
    ``P(x)`` the variance of x over time, divided by T. It is computed in the equivalent form
    ``P(signal) = P(mean of trials) - P(noise) / R``, which also holds for stimuli that differ in R.

    Parameters
    ----------
    response : array_like
        See the docstring of this module. In any unit, such as spikes per bin.

    Returns
    -------
    numpy.ndarray, (...)
        In the response's unit squared; a scalar for one cell. The estimate is unbiased, so it can
        be negative if there is little signal. It is not clipped, because clipping would bias
        averages over cells. 0 for a constant response; NaN where no stimulus has two trials.

    Raises
    ------
    CorpusError
        If `response` has none of the forms above.

    Examples
    --------
    >>> float(signal_power([[0, 2, 0, 2], [0, 2, 0, 0]]))  # 2 x 11/16 (0, 2, 0, 1) - (1 + 3/4) / 2
    0.5
    """
    return _powers(response).signal


def noise_power(response: Any) -> Floats:
    """Noise power: the variance over time of a single trial's deviation from the shared signal.

    Sahani & Linden 2003: ``P(noise) = mean of P(trial) - P(signal)``; see `signal_power` for the
    parameters, errors and unit. Never negative. NaN where no stimulus has two trials.

    Examples
    --------
    >>> float(noise_power([[0, 2, 0, 2], [0, 2, 0, 0]]))
    0.375
    """
    return _powers(response).noise


def snr(response: Any) -> Floats:
    """Signal-to-noise ratio of single trials: `signal_power` / `noise_power`.

    Negative where the signal power is negative; infinite if there is no noise; NaN for a constant
    response, and where no stimulus has two trials. Parameters and errors as in `signal_power`.
    """
    powers = _powers(response)
    return _ratio(powers.signal, powers.noise)


def cc_max(response: Any) -> Floats:
    """The highest expected correlation of any model with the mean of the trials (CC_max).

    This is the correlation of the signal itself, ``sqrt(P(signal) / P(mean of trials))``. Defined
    by Hsu, Borst & Theunissen 2004; computed from the signal power, without splitting the trials
    into random halves, as in Schoppe et al. 2016. Parameters and errors as in `signal_power`.

    Returns
    -------
    numpy.ndarray, (...)
        0 to 1. NaN where the signal power is negative, for a constant response, and where no
        stimulus has two trials.
    """
    powers = _powers(response)
    return _root(_ratio(powers.signal, powers.mean))


def correlation(prediction: Any, response: Any) -> Floats:
    """Pearson correlation over time of a prediction with the mean of the trials (CC_abs).

    Schoppe et al. 2016: ``Cov(X, Y) / sqrt(Var(X) Var(Y))``, X the prediction, Y the mean.

    Parameters
    ----------
    prediction : array_like, (..., T), or a list of such
        For a list of stimuli, a list of predictions in the same order. Bins with NaN are left out.
        If T differs from the response's, only the bins that both have count.
    response : array_like
        See the docstring of this module. A single trial is enough.

    Returns
    -------
    numpy.ndarray, (...)
        Over the bins of all stimuli in which both have a value. NaN where one of them is constant.

    Raises
    ------
    CorpusError
        If prediction and response do not match in their number of stimuli or cells.
    """
    return _correlation(*_matched(prediction, response), trials=1)


def normalized_correlation(prediction: Any, response: Any) -> Floats:
    """Correlation divided by the highest expected one: CC_norm = CC_abs / CC_max.

    Schoppe et al. 2016: ``Cov(X, Y) / sqrt(Var(X) P(signal))``. 1 is expected for a model that
    predicts all of the signal; as P(signal) is an estimate, a value may exceed 1. Both correlations
    use the same bins: the bins with two or more trials in which the prediction has a value.

    Parameters, errors
        As in `correlation`.

    Returns
    -------
    numpy.ndarray, (...)
        NaN where `correlation` or `cc_max` is NaN, and where the signal power is 0.
    """
    predictions, stimuli = _matched(prediction, response)
    predicted = [
        np.where(np.isfinite(x)[..., None, :], stimulus, np.nan)
        for x, stimulus in zip(predictions, stimuli, strict=True)
    ]
    best = cc_max(predicted)
    return _ratio(_correlation(predictions, stimuli, trials=2), np.where(best > 0, best, np.nan))


def cell_quality(records: Any, bin_ms: float = 1000 * BIN_SECONDS) -> pa.Table:
    """Measure how reliably each cell responds: one row per cell, in order of appearance.

    Records are read once, in batches; only a few sums are kept per cell.

    Parameters
    ----------
    records : Dataset or IterableDataset
        Records of any corpus, typically the split ``val``: if every stimulus was presented only
        once, signal and noise cannot be separated. Columns used: ``cell_id``, ``response``.
    bin_ms : float
        The bin width of the corpus, in milliseconds: ``dt_ms`` of its stimuli.

    Returns
    -------
    pyarrow.Table
        ``cell_id``; ``n_stimuli``, the number of its records; ``n_trials``, over all records;
        ``mean_rate`` in spikes/s; ``signal_power``, ``noise_power`` in (spikes/bin)^2, ``snr`` and
        ``cc_max`` as the functions of these names return for the list of the cell's responses. NaN
        where no estimate is possible; NaN passes no filter.

    Raises
    ------
    CorpusError
        If `records` is a dict of splits or holds no records.

    Examples
    --------
    Load only the records of cells that respond reliably:

    >>> val = load_dataset("./wingert2026", "A1", split="val", streaming=True)  # doctest: +SKIP
    >>> good = cell_quality(val).filter(pc.field("snr") > 0.1)["cell_id"]  # doctest: +SKIP
    >>> filters = [("cell_id", "in", good.to_pylist())]  # doctest: +SKIP
    >>> ds = load_dataset("./wingert2026", "A1", filters=filters)  # doctest: +SKIP
    """
    if isinstance(records, dict):
        raise CorpusError(
            "cannot measure the cells of several splits",
            why=f"there are {', '.join(map(repr, records))}",
            fix="give one of them, mostly records['val']",
        )
    tallies: dict[str, Floats] = {}
    for batch in arrow_batches(records, ["cell_id", "response"]):
        for cell, tally in zip(batch["cell_id"].to_pylist(), _tallies(batch), strict=True):
            tallies[cell] = tallies[cell] + tally if cell in tallies else tally
    stimuli, trials, bins, spikes, *sums = np.stack(list(tallies.values()), axis=-1)
    powers = _estimate(np.stack(sums, axis=-1))
    return pa.table(
        {
            "cell_id": pa.array(tallies, pa.string()),
            "n_stimuli": pa.array(stimuli.astype(np.int32)),
            "n_trials": pa.array(trials.astype(np.int32)),
            "mean_rate": _ratio(spikes, bins * (bin_ms / 1000)),
            "signal_power": powers.signal,
            "noise_power": powers.noise,
            "snr": _ratio(powers.signal, powers.noise),
            "cc_max": _root(_ratio(powers.signal, powers.mean)),
        }
    )


class _Powers(NamedTuple):
    """Power of the signal, of single-trial noise, and of the trial mean; each of shape (...)."""

    signal: Floats
    noise: Floats
    mean: Floats


def _powers(response: Any) -> _Powers:
    stimuli = _stimuli(response)
    if len({stimulus.shape[:-2] for stimulus in stimuli}) != 1:
        raise _no_response(f"the stimuli's shapes are {[x.shape for x in stimuli]}")
    return _estimate(np.sum([_sums(stimulus) for stimulus in stimuli], axis=0))


def _sums(response: Floats) -> Floats:
    """The sums that the powers are estimated from; sums of several stimuli can be added.

    Parameters
    ----------
    response : numpy.ndarray, (..., R, T)

    Returns
    -------
    numpy.ndarray, (..., 7)
        Over the bins that have two trials or more: the number of bins; the sums of the trial mean,
        of its square, of the variance across trials, and of the variance of the trial mean; the
        squared sum over time of single-trial noise, and of the noise in the trial mean.
    """
    mean, count = _mean(response)
    used = count >= 2
    mean, n = np.where(used, mean, 0.0), np.where(used, count, 2)
    present = np.isfinite(response) & used[..., None, :]
    noise = np.where(present, response - mean[..., None, :], 0.0)
    variance = np.square(noise).sum(-2) / (n - 1)
    # Deviations from the mean of n trials are too small by this factor; n differs between bins.
    noise *= np.sqrt(n / (n - 1))[..., None, :]
    trials = np.maximum(present.any(-1).sum(-1), 1)
    of_trial, of_mean = noise.sum(-1), (noise / n[..., None, :]).sum(-1)
    sums = [
        used.sum(-1),
        mean.sum(-1),
        np.square(mean).sum(-1),
        variance.sum(-1),
        (variance / n).sum(-1),
        np.square(of_trial).sum(-1) / trials,
        np.square(of_mean).sum(-1),
    ]
    return np.stack(sums, axis=-1)


def _estimate(sums: Floats) -> _Powers:
    """Each power is E[x^2] - E[x]^2: for the trial mean, single-trial noise, noise in the mean.

    For noise, E[x]^2 is the variance over trials of a trial's mean over time (or of the trial
    mean's). Trials of several stimuli are independent, so their variances add up.
    """
    bins, mean, square, variance, variance_of_mean, of_trial, of_mean = np.moveaxis(sums, -1, 0)
    bins = np.where(bins > 0, bins, np.nan)
    smallest = ROUNDING * (square + variance) / bins

    def difference(x: Floats, y: Floats) -> Floats:
        found: Floats = np.where(abs(x - y) < smallest, 0.0, x - y)[()]
        return found

    total = difference(square / bins, (mean / bins) ** 2)
    noise = difference(variance / bins, of_trial / bins**2)
    noise_of_mean = difference(variance_of_mean / bins, of_mean / bins**2)
    return _Powers(difference(total, noise_of_mean), noise, total)


def _tallies(batch: pa.Table) -> list[Floats]:
    """For each row: 1, its numbers of trials, bins and spikes, and its `_sums`.

    Adjacent rows whose trials have the same lengths are computed together.
    """
    values, lengths, counts = flatten_matrices(batch["response"])
    per_row = np.split(lengths, counts.cumsum()[:-1])
    found: list[Floats] = []
    done = 0
    for trials, group in groupby(map(tuple, per_row)):
        rows, size = len(list(group)), sum(trials)
        inside = np.arange(max(trials, default=0)) < np.reshape(trials, (-1, 1))
        responses = np.full((rows, *inside.shape), np.nan)
        responses[:, inside] = values[done : done + rows * size].reshape(rows, size)
        done += rows * size
        present = np.isfinite(responses)
        columns = [
            np.ones(rows),
            present.any(-1).sum(-1),
            present.sum((-1, -2)),
            np.where(present, responses, 0.0).sum((-1, -2)),
        ]
        found += list(np.column_stack([*columns, _sums(responses)]))
    return found


def _mean(response: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Mean of the trials in each bin (NaN without a trial), and the number of trials; (..., T)."""
    present = np.isfinite(response)
    count = present.sum(-2)
    return _ratio(np.where(present, response, 0.0).sum(-2), count), count


def _correlation(predictions: list[Floats], stimuli: list[Floats], trials: int) -> Floats:
    """Correlation over the bins that have a prediction and at least `trials` trials."""
    y, count = (np.concatenate(parts, -1) for parts in zip(*map(_mean, stimuli), strict=True))
    x = np.concatenate(predictions, axis=-1)
    used = np.isfinite(x) & (count >= trials)
    bins = used.sum(-1, keepdims=True)

    def centred(values: Floats) -> tuple[Floats, Floats]:
        values = np.where(used, values, 0.0)
        deviation = np.where(used, values - _ratio(values.sum(-1, keepdims=True), bins), 0.0)
        power, smallest = np.square(deviation).sum(-1), ROUNDING**2 * np.square(values).sum(-1)
        return deviation, np.where(power > smallest, power, np.nan)

    (x, power_x), (y, power_y) = centred(x), centred(y)
    return _ratio((x * y).sum(-1), np.sqrt(power_x * power_y))


def _matched(prediction: Any, response: Any) -> tuple[list[Floats], list[Floats]]:
    """One prediction and one response per stimulus; predictions get the responses' lengths."""
    stimuli = _stimuli(response)
    given = prediction if _several(response) else [prediction]
    predictions = [np.asarray(x, np.float64) for x in given]
    shapes = [stimulus.shape[:-2] + stimulus.shape[-1:] for stimulus in stimuli]
    found = [x.shape for x in predictions]
    if len(found) != len(shapes) or any(
        not x or x[:-1] not in (shape[:-1], ()) for x, shape in zip(found, shapes, strict=True)
    ):
        raise CorpusError(
            "cannot compare a prediction with a response",
            why=f"the predictions' shapes are {found}, the mean responses' {shapes}",
            fix="give one prediction, (T,) or (cells, T), per stimulus",
        )
    pairs = zip(predictions, shapes, strict=True)
    return [np.broadcast_to(_as_long(x, shape[-1]), shape) for x, shape in pairs], stimuli


def _as_long(prediction: Floats, n_bins: int) -> Floats:
    """Cut a prediction to `n_bins`, or pad it with NaN, which does not count."""
    cut = prediction[..., :n_bins]
    missing = [(0, 0)] * (cut.ndim - 1) + [(0, n_bins - cut.shape[-1])]
    return np.pad(cut, missing, constant_values=np.nan)


def _several(response: Any) -> bool:
    """Whether this is a list of stimuli, not one stimulus."""
    return is_list(response) and n_axes(response) > 2


def _stimuli(response: Any) -> list[Floats]:
    """Convert a response of any form to one array (..., R, T) per stimulus, padded with NaN."""
    stimuli = [_padded(x) for x in (response if _several(response) else [response])]
    if any(stimulus.ndim < 2 for stimulus in stimuli):
        raise _no_response(f"shapes {[x.shape for x in stimuli]}")
    return stimuli


def _padded(trials: Any) -> Floats:
    """Convert one (..., R, T), or a list of trials that may differ in length, to one array."""
    try:
        array: Floats = np.asarray(pad_trials(trials), np.float64)
        return array
    except (TypeError, ValueError) as error:
        raise _no_response(error) from error


def _no_response(why: object) -> CorpusError:
    return CorpusError(
        "cannot measure a response",
        why=why,
        fix="give (R, T), or (cells, R, T), or a list of one of these per stimulus",
    )


def _ratio(x: Any, y: Any) -> Floats:
    """The quotient x / y, NaN for 0 / 0, without a warning."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Floats = np.divide(x, y)
    return ratio


def _root(x: Floats) -> Floats:
    """Square root without a warning; NaN where `x` is negative."""
    with np.errstate(invalid="ignore"):
        root: Floats = np.sqrt(x)
    return root
