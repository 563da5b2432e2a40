"""Fits: which bins a loss counts, when it ends, and what is predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from builders.encoders import fit as fitting
from builders.encoders.fit import Fit
from builders.population import Population
from builders.preprocess import BandScaler
from builders.streamed import StreamedPopulation
from tests import unequal

pytestmark = pytest.mark.usefixtures("one_thread")
SCALER = BandScaler((0.0,) * 2, (1.0,) * 2)


class Loudness(torch.nn.Module):
    """Spikes per bin, the same for all of N cells: the sum of the bands."""

    def __init__(self, n_cells: int) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.ones(n_cells))

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        return self.weights[:, None] * spectrogram.sum(1, keepdim=True)


def items_of(streaming: bool, *without: str) -> Any:
    records: Any = unequal.records(*without)
    if streaming:
        return StreamedPopulation(records.to_iterable_dataset(), unequal.stimuli())
    return Population(records, unequal.stimuli())


@pytest.mark.parametrize("streaming", [False, True])
def test_the_loss_counts_the_bins_that_stimulus_and_response_have(streaming: bool) -> None:
    of_bins = []
    for (stim_id, _), trials in unequal.RESPONSES.items():
        sound = SCALER.scale(np.array(unequal.SPECTROGRAMS[stim_id], np.float32)).sum(0)
        for bin_, rate in enumerate(sound):
            counts = [t[bin_] for t in trials if len(t) > bin_ and np.isfinite(t[bin_])]
            of_bins += [rate - count * np.log(rate + 1e-8) for count in counts]
    fit = Fit(Loudness(2), ["x", "y"], SCALER)
    loss = fit.epoch(items_of(streaming), 0, None)
    assert loss == pytest.approx(np.mean(of_bins), rel=1e-5)


def test_items_of_fewer_cells_than_the_model() -> None:
    """Held-out stimuli need not have been presented to every cell."""
    whole, part = items_of(False), items_of(False).select(cells={"cell_id": "y"})
    fit = Fit(Loudness(2), ["x", "y"], SCALER)
    alone = Fit(Loudness(1), ["y"], SCALER)
    assert fit.epoch(part, 0, None) == pytest.approx(alone.epoch(part, 0, None))
    assert fit.epoch(part, 0, None) != pytest.approx(fit.epoch(whole, 0, None))


def test_a_batch_in_which_nothing_counts_leaves_the_model_as_it_was() -> None:
    items = items_of(False).select(stimuli={"stim_id": "none"})
    model = Loudness(1)
    losses = Fit(model, ["x"], SCALER).fit(items, items, 2, 0.1)
    assert losses == {"fitted": [0, 0], "held_out": [0, 0]}
    assert model.weights.tolist() == [1]


def test_a_fit_ends_when_the_held_out_stimuli_gain_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its best state is kept."""
    fit = Fit(Loudness(2), ["x", "y"], SCALER)
    held_out = [3.0, 2.0, 2.5, 2.4, 2.1, 2.2, 1.0]
    states = []

    def epoch(items: str, seed: int, optimizer: Any) -> float:
        if items == "fitted":
            with torch.no_grad():
                fit.model.weights += 1  # type: ignore[operator]
            return 0.0
        states.append(fit.model.state_dict()["weights"].clone())
        return held_out[len(states) - 1]

    monkeypatch.setattr(fit, "epoch", epoch)
    losses = fit.fit("fitted", "held out", 20, 0.1)  # type: ignore[arg-type]
    assert fitting.PATIENCE == 4
    assert losses["held_out"] == held_out[:6]
    assert torch.equal(fit.model.state_dict()["weights"], states[1])


def test_predictions_are_as_long_as_responses_and_go_on_with_silence() -> None:
    fit = Fit(Loudness(2), ["y", "x"], SCALER)  # in another order than the records
    with torch.no_grad():
        fit.model.weights[:] = torch.tensor([1.0, 2.0])  # type: ignore[index]
    records, stimuli = unequal.records(), unequal.stimuli("equal")
    found = fit.predictions(records, stimuli).to_pylist()
    pairs = {(row["stim_id"], row["cell_id"]): row["prediction"] for row in found}
    assert pairs.keys() == {pair for pair in unequal.RESPONSES if pair[0] != "equal"}
    for (stim_id, cell), prediction in pairs.items():
        n_bins = max(map(len, unequal.RESPONSES[stim_id, cell]))
        sound = np.zeros((2, 20), np.float32)
        bands = np.array(unequal.SPECTROGRAMS[stim_id], np.float32)
        sound[:, : bands.shape[1]] = bands
        expected = (1 + (cell == "x")) * SCALER.scale(sound).sum(0)[:n_bins]
        assert prediction == pytest.approx(expected.tolist())


def test_cells_that_the_model_does_not_have_are_not_predicted() -> None:
    found = Fit(Loudness(1), ["y"], SCALER).predictions(unequal.records(), unequal.stimuli())
    assert set(found["cell_id"].to_pylist()) == {"y"}
