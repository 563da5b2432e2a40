"""The baselines: planted filters come back, streamed and mapped alike, and nothing from noise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import load_dataset

from builders.errors import CorpusError
from builders.population import Population
from builders.preprocess import BandScaler
from builders.synthetic.filters import write_filters
from builders.synthetic.recordings import write_archive
from scripts.train_baseline import (
    LAGS,
    ConvolutionalNetwork,
    LinearNonlinear,
    StreamedPopulation,
    fit,
    items_of,
    load,
    main,
    recovery,
    score,
)
from tests import unequal
from wingert2026 import Wingert2026
from wingert2026.synthetic.cells import write_cell_list
from wingert2026.synthetic.release import archives

SESSIONS = ("CLT027c", "CLT028c")
N_CELLS = 6


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on cores that others use take minutes for seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def driven_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few cells of two sessions of the mini release, driven."""
    folder = tmp_path_factory.mktemp("driven")
    (folder / "recordings").mkdir()
    chosen = [
        replace(plan, cells=plan.cells[:N_CELLS], driven=True)
        for plan in archives("mini", 0)
        if plan.session in SESSIONS
    ]
    for plan in chosen:
        write_archive(folder / "recordings", plan, 0)
    write_cell_list(folder / "cell_list.csv", SESSIONS, 0)
    cells = [(cell, cell) for plan in chosen for cell in plan.cells]
    write_filters(folder / "filters.npz", 0, Wingert2026.bands[""], cells)
    return folder


@pytest.fixture
def driven(driven_release: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WINGERT2026_DATA", str(driven_release))
    return driven_release


def run(folder: Path, *arguments: object) -> dict[str, Any]:
    out = folder / "results.json"
    main(["--device", "cpu", "--out", *map(str, [out, *arguments])])
    results: dict[str, Any] = json.loads(out.read_text())
    return results


def test_planted_filters_are_recovered(driven: Path, tmp_path: Path) -> None:
    filters = driven / "filters.npz"
    results = run(tmp_path, "--epochs", 10, "--filters", filters)
    assert len(results["cells"]) == N_CELLS
    linear, network = (
        results["models"][name] for name in ("LinearNonlinear", "ConvolutionalNetwork")
    )
    assert np.median(linear["filter_recovery"]) > 0.8
    assert "filter_recovery" not in network
    for scores in (linear, network):
        assert scores["losses"][-1] < scores["losses"][0]
        assert np.median(scores["normalised_correlation"]) > 0.8
        assert np.median(scores["correlation"]) < np.median(scores["normalised_correlation"]) < 1.1


def test_nothing_is_recovered_from_shuffled_responses(driven: Path) -> None:
    items, stimuli = load("wingert2026", "CLT028c", False, None)
    est, val = list(items["est"]), items["val"]
    shuffled: Any = [
        {**item, "response": other["response"], "mask": other["mask"]}
        for item, other in zip(est, est[1:] + est[:1], strict=True)
    ]
    cells, scaler = val.cells["cell_id"].to_pylist(), BandScaler.fit(stimuli)
    model = LinearNonlinear(Wingert2026.bands[""], N_CELLS)
    fit(model, shuffled, scaler, 10)
    assert abs(np.median(recovery(model, cells, scaler, driven / "filters.npz"))) < 0.3
    assert abs(np.median(score(model, val, cells, scaler)["correlation"])) < 0.3


def test_streamed_and_mapped_training_are_the_same(driven: Path, tmp_path: Path) -> None:
    arguments = ["--config", "CLT027c", "--cells", 4, "--epochs", 2]
    mapped, streamed = (run(tmp_path, *arguments, *style) for style in ([], ["--streaming"]))
    assert mapped == streamed
    assert len(mapped["models"]["LinearNonlinear"]["losses"]) == 2
    other = run(tmp_path, *arguments, "--seed", 1)
    # The network begins at random weights, the linear-nonlinear model does not.
    same = [mapped["models"][name] == other["models"][name] for name in mapped["models"]]
    assert same == [True, False]


def test_streamed_items_are_those_of_the_population(home: Path) -> None:
    """Site by site, of several sites whose cells were presented the same stimuli."""
    stimuli = load_dataset("./nat4", "stimuli")
    mapped = Population(load_dataset("./nat4", "A1", split="val"), stimuli)
    stream = load_dataset("./nat4", "A1", split="val", streaming=True)
    streamed = StreamedPopulation(stream, stimuli)
    assert streamed.cells.equals(mapped.cells)
    merged: dict[str, torch.Tensor] = {}
    n_items = 0
    for item in streamed:
        n_items += 1
        assert torch.equal(torch.isnan(item["response"]), ~item["mask"])
        padded = torch.full((len(mapped.cells), 20, 150), torch.nan)
        padded[:, : item["response"].shape[1]] = item["response"]
        known = merged.setdefault(item["stim_id"], torch.full_like(padded, torch.nan))
        merged[item["stim_id"]] = torch.where(torch.isnan(known), padded, known)
    assert n_items == 4 * len(mapped)
    for expected in mapped:  # type: ignore[attr-defined]
        assert torch.equal(
            merged[expected["stim_id"]].nan_to_num(-1), expected["response"].nan_to_num(-1)
        )


class Loudness(torch.nn.Module):
    """Spikes per bin, the same for all of N cells: the sum of the bands."""

    def __init__(self, n_cells: int) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.ones(n_cells))

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        return self.weights[:, None] * spectrogram.sum(1, keepdim=True)


def unequal_items(streaming: bool) -> Any:
    """Of records whose responses and spectrograms differ in length, one without a spectrogram."""
    records: Any = unequal.records()
    records = records.to_iterable_dataset() if streaming else records
    return items_of(records, unequal.stimuli("one more"), ["x", "y"])


@pytest.mark.parametrize("streaming", [False, True])
def test_items_of_unequal_length(streaming: bool) -> None:
    expected = Population(unequal.records("one more"), unequal.stimuli())
    items = unequal_items(streaming)
    assert items.cells["cell_id"].to_pylist() == ["x", "y"]
    for item, other in zip(items, expected, strict=True):
        assert item.keys() == other.keys()
        assert item["stim_id"] == other["stim_id"]
        for name in set(item) - {"stim_id"}:
            assert torch.equal(item[name].nan_to_num(-1), other[name].nan_to_num(-1)), name


@pytest.mark.parametrize("streaming", [False, True])
def test_loss_and_scores_count_the_bins_that_stimulus_and_response_have(streaming: bool) -> None:
    items, scaler = unequal_items(streaming), BandScaler((0.0,) * 2, (1.0,) * 2)
    pairs: dict[str, list[tuple[float, float, list[float]]]] = {"x": [], "y": []}
    for (stim_id, cell), trials in unequal.RESPONSES.items():
        if stim_id == "one more":
            continue
        sound = scaler.scale(np.array(unequal.SPECTROGRAMS[stim_id], np.float32)).sum(0)
        for bin_, rate in enumerate(sound):
            counts = [t[bin_] for t in trials if len(t) > bin_ and np.isfinite(t[bin_])]
            if counts:
                pairs[cell].append((rate, float(np.mean(counts)), counts))
    found = score(Loudness(2), items, ["x", "y"], scaler)["correlation"]
    for cell, value in zip(pairs, found, strict=True):
        rates, means, _ = zip(*pairs[cell], strict=True)
        assert value == pytest.approx(np.corrcoef(rates, means)[0, 1], rel=1e-5)
    of_bins = [
        rate - count * np.log(rate + 1e-8)
        for of_cell in pairs.values()
        for rate, _, counts in of_cell
        for count in counts
    ]
    (loss,) = fit(Loudness(2), items, scaler, 1, learning_rate=1e-9)
    assert loss == pytest.approx(np.mean(of_bins), rel=1e-5)


def test_a_batch_in_which_nothing_counts_leaves_the_model_as_it_was() -> None:
    items: Any = Population(unequal.records(), unequal.stimuli()).select(
        stimuli={"stim_id": "none"}
    )
    model = Loudness(1)
    assert fit(model, items, BandScaler((0.0,) * 2, (1.0,) * 2), 2) == [0, 0]
    assert model.weights.tolist() == [1]


def test_all_of_nat4(home: Path, tmp_path: Path) -> None:
    """Cells without validation data are fitted, and have no score."""
    results = run(tmp_path, "--corpus", "nat4", "--config", "A1", "--epochs", 1)
    assert len(results["cells"]) == 40
    scores = results["models"]["LinearNonlinear"]["correlation"]
    assert sum(value is None for value in scores) == 3  # two without val records, one silent


def test_linear_nonlinear_model_is_what_it_says() -> None:
    model = LinearNonlinear(3, 2)
    torch.manual_seed(0)
    torch.nn.init.normal_(model.filters.weight)
    torch.nn.init.normal_(model.log_gain)
    sound = torch.rand(1, 3, 40)
    rate, filters = model(sound)[0].detach().numpy(), model.fitted()
    assert filters.shape == (2, 3, LAGS)
    biases = model.filters.bias.detach().numpy()  # type: ignore[union-attr]
    for cell in range(2):
        for t in range(40):
            drive = float(biases[cell])
            for lag in range(min(LAGS, t + 1)):
                drive += float(filters[cell, :, lag] @ sound[0, :, t - lag].numpy())
            expected = np.exp(model.log_gain[cell].item()) * np.log1p(np.exp(drive))
            assert rate[cell, t] == pytest.approx(expected, rel=1e-4)


def test_models_do_not_look_ahead() -> None:
    torch.manual_seed(0)
    sound, model = torch.rand(1, 3, 40), ConvolutionalNetwork(3, 2)
    changed = sound.clone()
    changed[..., 20:] = 0
    before, after = model(sound), model(changed)
    assert torch.equal(before[..., :20], after[..., :20])
    assert not torch.equal(before, after)


def test_filters_of_another_release(tmp_path: Path) -> None:
    write_filters(tmp_path / "filters.npz", 0, 18, [("TNC008a-01-1", "TNC008a-01-1")])
    scaler = BandScaler((0.0,) * 18, (1.0,) * 18)
    with pytest.raises(CorpusError, match="none of the cells CLT027c-007-1"):
        recovery(LinearNonlinear(18, 1), ["CLT027c-007-1"], scaler, tmp_path / "filters.npz")


def test_what_cannot_be_trained_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CorpusError, match="its splits are cells"):
        main(["--config", "cells"])
    with pytest.raises(SystemExit):
        main(["--cells", "0"])
    assert "0 is not above 0" in capsys.readouterr().err
