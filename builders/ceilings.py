"""Two other ways to correct a correlation for noise in the response: Hsu's, and that of NEMS.

`builders.metrics.normalized_correlation` is the way of Schoppe et al. 2016; `docs/scoring.md` says
how the three differ. Here, all stimuli are joined in time first. Where they differ in their number
of trials, each is used with as many trials as all of them have: the first ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from builders.metrics import correlation
from builders.ragged import Floats

#: How many ways of cutting the trials into two halves are averaged at most.
MOST_HALVES = 126
#: Two single trials are taken to have at least this correlation.
LEAST_CORRELATION = 0.01


def split_half_correlation(prediction: Sequence[Floats], response: Sequence[Floats]) -> float:
    """Correlation divided by the highest expected one, which is found from halves of the trials.

    Hsu, Borst & Theunissen, Network 15, 2004: ``CC_max = sqrt(2 / (1 + sqrt(1 / CC_half^2)))``,
    with CC_half the correlation between the means of two halves of the trials, here averaged over
    all ways to cut them, or over `MOST_HALVES` random ones, always the same. Of an odd number of
    trials, the last one is not used for CC_max.

    Parameters
    ----------
    prediction : sequence of (T,) arrays
        Of one cell, one for each stimulus. Bins with NaN are left out.
    response : sequence of (R, T) arrays
        In any unit; NaN where there is nothing.

    Returns
    -------
    float
        NaN with fewer than two trials, if CC_half is not above 0, if a half is constant, or if
        `correlation` is NaN.
    """
    _, trials = _joined(prediction, response)
    first = _halves(len(trials) // 2 * 2)
    trials = trials[: first.shape[1]]
    if not len(first):
        return np.nan
    cc_half = correlation(_means(first, trials), _means(~first, trials)[:, None]).mean()
    if not cc_half > 0:
        return np.nan
    cc_max = np.sqrt(2 / (1 + 1 / cc_half))
    return float(correlation([*prediction], [*response]) / cc_max)


def single_trial_correlation(prediction: Sequence[Floats], response: Sequence[Floats]) -> float:
    """Correlation with single trials, divided by the root of that between single trials.

    This is ``r_ceiling`` of NEMS, with which Pennington & David, PLoS Comput Biol 2023, correct
    their correlations: the mean over trials of the correlation with the prediction, divided by the
    square root of the mean over pairs of trials of their correlation. As there, a trial without
    spikes counts as correlation 0, and the mean over pairs as `LEAST_CORRELATION` at least. NEMS
    takes 1000 random pairs of trials if there are more; here, all are taken.

    Parameters, returns
        As in `split_half_correlation`. NaN with fewer than two trials, where NEMS has 0.
    """
    predicted, trials = _joined(prediction, response)
    if len(trials) < 2:
        return np.nan
    with_prediction = _pairwise(predicted[None], trials)[0]
    between = _pairwise(trials, trials)[np.triu_indices(len(trials), 1)]
    return float(with_prediction.mean() / np.sqrt(max(between.mean(), LEAST_CORRELATION)))


def _joined(prediction: Sequence[Floats], response: Sequence[Floats]) -> tuple[Floats, Floats]:
    """The prediction (T,) and the trials (R, T) in the bins that have a prediction."""
    n_trials = min(map(len, response))
    trials = np.concatenate([each[:n_trials] for each in response], axis=1)
    predicted = np.concatenate(prediction)
    kept = np.isfinite(predicted)
    return predicted[kept], np.where(np.isfinite(trials), trials, np.nan)[:, kept]


def _halves(n_trials: int) -> NDArray[np.bool_]:
    """(n, R) bool: the trials of the first half, for each way to cut R trials into two halves."""
    n = comb(n_trials, n_trials // 2) // 2
    if n > MOST_HALVES:
        rng = np.random.default_rng(0)
        orders = rng.permuted(np.tile(np.arange(n_trials), (MOST_HALVES, 1)), axis=1)
        return np.asarray(orders < n_trials // 2)
    ways = [
        chosen
        for chosen in combinations(range(n_trials), n_trials // 2)
        if chosen and not chosen[0]
    ]
    first = np.zeros((len(ways), n_trials), np.bool_)
    for row, chosen in zip(first, ways, strict=True):
        row[list(chosen)] = True
    return first


def _means(chosen: NDArray[np.bool_], trials: Floats) -> Floats:
    """(n, T): the mean of the chosen trials in each bin; NaN without one."""
    present = np.isfinite(trials)
    total = chosen.astype(np.float64) @ np.where(present, trials, 0.0)
    count = chosen.astype(np.float64) @ present
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count)


def _pairwise(x: Floats, y: Floats) -> Floats:
    """(n, m): the correlation of each row of x (n, T) with each of y (m, T), 0 if one is constant.

    Each is over the bins that both rows have.
    """
    in_x, in_y = np.isfinite(x).astype(np.float64), np.isfinite(y).astype(np.float64)
    # Rows are centred first, for sums of squares to keep their precision.
    x, y = (_centred(each) for each in (x, y))
    n = np.maximum(in_x @ in_y.T, 1)
    sum_x, sum_y = x @ in_y.T, in_x @ y.T
    power_x, power_y = np.square(x) @ in_y.T - sum_x**2 / n, in_x @ np.square(y).T - sum_y**2 / n
    both = power_x * power_y
    is_constant = both <= 1e-20 * (np.square(x) @ in_y.T) * (in_x @ np.square(y).T)
    return np.asarray(
        np.where(
            is_constant,
            0.0,
            (x @ y.T - sum_x * sum_y / n) / np.sqrt(np.where(is_constant, 1, both)),
        )
    )


def _centred(x: Floats) -> Floats:
    """Rows without their means, (n, T); 0 where there is nothing."""
    present = np.isfinite(x)
    means = np.where(present, x, 0.0).sum(1) / np.maximum(present.sum(1), 1)
    return np.where(present, x - means[:, None], 0.0)
