"""How much of a response is driven by the stimulus, and how much of that a model predicts.

Two measures need no model: signal and noise power, of which the signal-to-noise ratio follows
(Sahani & Linden, "How linear are auditory cortical responses?", NIPS 15, 2003). With them a
prediction's correlation can be told from the best that any model could reach (Hsu, Borst &
Theunissen, Network 15, 2004; Schoppe et al., Front Comput Neurosci 10:10, 2016).

Every function takes a ``response`` in one of these forms:

* an array (R, T), R trials of T bins, or nested lists; trials as a list may differ in length;
* an array (..., R, T), such as (cells, R, T) of a population: one value per cell comes back;
* a list with one of the above per stimulus, whose R and T may differ.

NaN, and infinite values, stand where there is nothing: padding, a trial that broke off, or a part
that was not recorded. No function counts these bins.

A prediction may be longer or shorter than the response, as a spectrogram may. Both begin at bin 0,
and only the bins that both have are compared.

Several stimuli count as if they followed each other in time: powers are about the mean over all of
them, so that differences between the mean responses to them are signal. Which trial of one stimulus
to join to which of another is arbitrary, and where R differs they cannot be joined at all. So none
are: each stimulus tells from its own R trials how much noise is left in their mean, and weighs as
much as it has bins. Where R is equal, this is the average over all ways to join the trials.

An estimate uses the bins that two trials or more have values for. It is unbiased whatever the
noise's autocorrelation if the trials of a stimulus are equally long (they may be padded), and for
noise that is independent between bins in any case; otherwise one term, the variance of the trials'
means, is approximate. Nothing can be estimated from single trials: the result is NaN then.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from builders.conventions import BIN_SECONDS
from builders.errors import CorpusError
from builders.ragged import depth, flatten_matrices, is_list, pad_trials
from builders.rows import arrow_batches

Floats = NDArray[np.float64]

#: Powers below this part of the mean square are the rounding of zero.
ROUNDING = 1e-12


def signal_power(response: Any) -> Floats:
    """Power of the part of a response that every trial shares: its variance over time.

    Sahani & Linden 2003: ``P(signal) = (R P(mean of trials) - mean of P(trial)) / (R - 1)``, with
    ``P(x)`` the variance of x over time, divided by T. Written as what it is computed by,
    ``P(signal) = P(mean of trials) - P(noise) / R``, it holds for stimuli that differ in R.

    Parameters
    ----------
    response : array_like
        See the head of this module; the unit is the user's, such as spikes per bin.

    Returns
    -------
    numpy.ndarray, (...)
        In the response's unit squared; a scalar for one cell. As it is unbiased, it is negative at
        times where there is little signal; it is not clipped, for averages over cells would be
        biased then. 0 for a constant response; NaN where no stimulus has two trials.

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
    """Power of a trial's deviation from what all trials share.

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

    Negative where the estimate of the signal's power is; infinite without noise; NaN for a constant
    response, and where no stimulus has two trials. Parameters and errors as in `signal_power`.
    """
    powers = _powers(response)
    return _ratio(powers.signal, powers.noise)


def cc_max(response: Any) -> Floats:
    """The highest correlation with the mean of the trials that a model can be expected to reach.

    That of the signal itself: ``sqrt(P(signal) / P(mean of trials))``. The quantity is that of Hsu,
    Borst & Theunissen 2004; computed from the signal power, without halving the trials at random,
    by Schoppe et al. 2016. Parameters and errors as in `signal_power`.

    Returns
    -------
    numpy.ndarray, (...)
        0 to 1. NaN where the estimate of the signal's power is negative, for a constant response,
        and where no stimulus has two trials.
    """
    powers = _powers(response)
    return _root(_ratio(powers.signal, powers.mean))


def correlation(prediction: Any, response: Any) -> Floats:
    """Pearson correlation over time of a prediction with the mean of the trials (CC_abs).

    Schoppe et al. 2016: ``Cov(X, Y) / sqrt(Var(X) Var(Y))``, X the prediction, Y the mean.

    Parameters
    ----------
    prediction : array_like, (..., T), or a list of such
        For a list of stimuli a list of predictions, in the same order. NaN leave a bin out, and so
        does a T that differs from the response's: the longer one's last bins do not count.
    response : array_like
        See the head of this module. A single trial is enough.

    Returns
    -------
    numpy.ndarray, (...)
        Over the bins of all stimuli that have a value in both. NaN where one of them is constant.

    Raises
    ------
    CorpusError
        If prediction and response do not match in their number of stimuli or cells.
    """
    return _correlation(*_matched(prediction, response), trials=1)


def normalized_correlation(prediction: Any, response: Any) -> Floats:
    """Correlation as a part of the highest to be expected: CC_norm = CC_abs / CC_max.

    Schoppe et al. 2016: ``Cov(X, Y) / sqrt(Var(X) P(signal))``. 1 is expected for a model that
    predicts all of the signal; as P(signal) is an estimate, a value may exceed 1. Both correlations
    are taken over the same bins: those of two trials or more in which the prediction has a value.

    Parameters, errors
        As in `correlation`.

    Returns
    -------
    numpy.ndarray, (...)
        NaN where `correlation` or `cc_max` is, and where the signal power is 0.
    """
    predictions, stimuli = _matched(prediction, response)
    predicted = [
        np.where(np.isfinite(x)[..., None, :], stimulus, np.nan)
        for x, stimulus in zip(predictions, stimuli, strict=True)
    ]
    best = cc_max(predicted)
    return _ratio(_correlation(predictions, stimuli, trials=2), np.where(best > 0, best, np.nan))


def cell_quality(records: Any) -> pa.Table:
    """How well each cell responds: one row per cell, in order of appearance.

    Records are read once, some at a time, and a few numbers are kept per cell.

    Parameters
    ----------
    records : Dataset or IterableDataset
        Records of any corpus, typically the split ``val``: where every stimulus was presented once,
        signal and noise cannot be told apart. Columns used: ``cell_id``, ``response``.

    Returns
    -------
    pyarrow.Table
        ``cell_id``; ``n_stimuli``, the number of its records; ``n_trials``, over all of them;
        ``mean_rate`` in spikes/s; ``signal_power``, ``noise_power`` in (spikes/bin)^2, ``snr``,
        ``cc_max`` as by the functions of these names, given the list of the cell's responses. NaN,
        which passes no filter, where there is no estimate.

    Raises
    ------
    CorpusError
        If `records` is a dict of splits or holds no records.

    Examples
    --------
    Load the records of those cells only that respond reliably:

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
            "mean_rate": _ratio(spikes, bins * BIN_SECONDS),
            "signal_power": powers.signal,
            "noise_power": powers.noise,
            "snr": _ratio(powers.signal, powers.noise),
            "cc_max": _root(_ratio(powers.signal, powers.mean)),
        }
    )


class _Powers(NamedTuple):
    """Of the signal, of the noise of a trial, and of the mean of the trials; (...) each."""

    signal: Floats
    noise: Floats
    mean: Floats


def _powers(response: Any) -> _Powers:
    stimuli = _stimuli(response)
    if len({stimulus.shape[:-2] for stimulus in stimuli}) != 1:
        raise _no_response(f"the stimuli's shapes are {[x.shape for x in stimuli]}")
    return _estimate(np.sum([_sums(stimulus) for stimulus in stimuli], axis=0))


def _sums(response: Floats) -> Floats:
    """What the powers are estimated from; that of several stimuli is the sum of theirs.

    Parameters
    ----------
    response : numpy.ndarray, (..., R, T)

    Returns
    -------
    numpy.ndarray, (..., 7)
        Over the bins that have two trials: their number; the sums of the trials' mean, of its
        square, of the variance across trials, and of that of their mean; the squared sum over time
        of a trial's noise, and of the noise in the mean.
    """
    mean, count = _mean(response)
    used = count >= 2
    mean, n = np.where(used, mean, 0.0), np.where(used, count, 2)
    present = np.isfinite(response) & used[..., None, :]
    noise = np.where(present, response - mean[..., None, :], 0.0)
    variance = np.square(noise).sum(-2) / (n - 1)
    # Deviations from a mean of n are too small by this factor; bins differ in n.
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
    """Mean square less squared mean, of the mean of the trials, of a trial's noise, of the mean's.

    The squared mean of the noise is the variance of a trial's mean (of the mean of all, for the
    noise in the mean); that of several stimuli, whose trials are independent, is the sum of theirs.
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
    """Of each row 1, and its numbers of trials, bins and spikes, then its `_sums`.

    Neighbouring rows whose trials have the same lengths are computed together.
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
    """Mean of the trials, NaN where there is none, and their number, (..., T)."""
    present = np.isfinite(response)
    count = present.sum(-2)
    return _ratio(np.where(present, response, 0.0).sum(-2), count), count


def _correlation(predictions: list[Floats], stimuli: list[Floats], trials: int) -> Floats:
    """Over the bins that have a prediction and at least so many trials."""
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
    """Predictions and responses, one of each per stimulus, the predictions as long as these."""
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
    """A prediction of so many bins: cut, or with NaN at the end, which do not count."""
    cut = prediction[..., :n_bins]
    missing = [(0, 0)] * (cut.ndim - 1) + [(0, n_bins - cut.shape[-1])]
    return np.pad(cut, missing, constant_values=np.nan)


def _several(response: Any) -> bool:
    """Is this a list of stimuli, not one?"""
    return is_list(response) and depth(response) > 2


def _stimuli(response: Any) -> list[Floats]:
    """A response in any of its forms as one (..., R, T) per stimulus, padded with NaN."""
    stimuli = [_padded(x) for x in (response if _several(response) else [response])]
    if any(stimulus.ndim < 2 for stimulus in stimuli):
        raise _no_response(f"shapes {[x.shape for x in stimuli]}")
    return stimuli


def _padded(trials: Any) -> Floats:
    """One (..., R, T), or a list of trials that may differ in length."""
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
    """Square root, NaN where `x` is negative, without a warning."""
    with np.errstate(invalid="ignore"):
        root: Floats = np.sqrt(x)
    return root
