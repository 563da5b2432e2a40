"""Fit two models on `est` and score them on `val`: what a trainer does with these data sets.

    python scripts/train_baseline.py --corpus wingert2026 --config CLT028c --streaming

One is linear-nonlinear: a filter per cell, then a softplus. The other is a small convolutional
network with one output per cell, in the manner of Pennington & David, PLoS Comput Biol 2023. Both
predict spikes per bin from the spectrogram as the papers scale it, and are fitted by the
likelihood of Poisson counts. On a release made by ``builders synthesize --driven``, ``--filters``
compares the fitted filters with those planted in the cells.

A response and its spectrogram may differ in length: loss and scores count the bins that have both.
Records of a stimulus without a spectrogram are left out.

Stimuli are taken in the order of the records. Their names say nothing about how they sound, so
that this is as good as shuffled, and the same whether the records are streamed or mapped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, IterableDataset, disable_progress_bars, load_dataset
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad, poisson_nll_loss, relu, softplus

from builders.conventions import SUBSETS
from builders.errors import CorpusError
from builders.metrics import correlation, normalized_correlation
from builders.population import Population, coverage
from builders.preprocess import BandScaler
from builders.stimuli import with_stimuli
from builders.training import collate

REPOSITORY = Path(__file__).parent.parent
LAGS = 15  # bins of the past that a model sees
CHANNELS = 32  # of the network's hidden layers
BINS_PER_BATCH = 4000  # 40 s of sound

Items = torch.utils.data.Dataset[dict[str, Any]]


class StreamedPopulation(torch.utils.data.IterableDataset[dict[str, Any]]):
    """The items of a `Population`, made of a stream, one stimulus of one site after the other.

    Parameters
    ----------
    records : IterableDataset
    stimuli : Dataset
        As of `Population`.

    Attributes
    ----------
    cells : Table of N rows
        The axis N of every item: read from the stream once, ahead.
    """

    def __init__(self, records: IterableDataset, stimuli: Dataset) -> None:
        self.cells = coverage(records).cells
        self._rows = {cell: row for row, cell in enumerate(self.cells["cell_id"].to_pylist())}
        self._records: Any = with_stimuli(records, stimuli).with_format("arrow")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for stim_id, records in groupby(self._records, lambda row: row["stim_id"][0].as_py()):
            batch = collate(list(records))
            rows = [self._rows[cell] for cell in batch["cell_id"]]
            shape = len(self._rows), *batch["mask"].shape[1:]
            response, mask = torch.full(shape, torch.nan), torch.zeros(shape, dtype=torch.bool)
            response[rows] = batch["response"].where(batch["mask"], torch.nan)
            mask[rows] = batch["mask"]
            yield {
                "stim_id": stim_id,
                "spectrogram": batch["spectrogram"][0],
                "response": response,
                "mask": mask,
                "stimulus_mask": batch["stimulus_mask"][0],
            }


class LinearNonlinear(nn.Module):
    """``gain * softplus(offset + filter * spectrogram)``, for N cells at once."""

    def __init__(self, n_bands: int, n_cells: int) -> None:
        super().__init__()
        self.filters = nn.Conv1d(n_bands, n_cells, LAGS)
        self.log_gain = nn.Parameter(torch.zeros(n_cells))
        nn.init.zeros_(self.filters.weight)
        nn.init.constant_(self.filters.bias, -2)  # type: ignore[arg-type]

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Spikes per bin (B, N, T) for spectrograms (B, F, T)."""
        output = softplus(self.filters(pad(spectrogram, (LAGS - 1, 0))))
        return self.log_gain.exp()[:, None] * output

    def fitted(self) -> NDArray[np.float32]:
        """The filters, (N, F, L), lag 0 first."""
        filters: NDArray[np.float32] = self.filters.weight.detach().cpu().numpy()[:, :, ::-1]
        return filters


class ConvolutionalNetwork(nn.Module):
    """Two convolutions along time, shared by the cells, and a readout for each of N cells."""

    def __init__(self, n_bands: int, n_cells: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(n_bands, CHANNELS, LAGS)
        self.second = nn.Conv1d(CHANNELS, CHANNELS, 3)
        self.readout = nn.Conv1d(CHANNELS, n_cells, 1)
        nn.init.constant_(self.readout.bias, -2)  # type: ignore[arg-type]

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Spikes per bin (B, N, T) for spectrograms (B, F, T)."""
        hidden = relu(self.first(pad(spectrogram, (LAGS - 1, 0))))
        hidden = relu(self.second(pad(hidden, (2, 0))))
        output: Tensor = softplus(self.readout(hidden))
        return output


def load(
    corpus: str, config: str, streaming: bool, n_cells: int | None
) -> tuple[dict[str, Any], Dataset]:
    """The items of `est` and `val`, and the stimuli of their sessions.

    Parameters
    ----------
    corpus, config : str
        As of `load_dataset`.
    streaming : bool
    n_cells : int, optional
        How many cells to take, the first ones.

    Raises
    ------
    CorpusError
        If the config has not both subsets, or not of records.
    """
    records = load_dataset(str(REPOSITORY / corpus), config, streaming=streaming)
    if set(records) != set(SUBSETS):
        raise CorpusError(
            f"cannot fit and score models on {corpus} {config}",
            why=f"its splits are {', '.join(records)}",
            fix="name a config of records with est and val, such as a site",
        )
    found = coverage(records["est"])
    chosen = found.cells["cell_id"].to_pylist()[:n_cells]
    # wingert2026 keeps the stimuli of each session apart: no other session's need be fetched.
    folders = {stim_id.rpartition("/")[0] for stim_id in found.stimuli["stim_id"].to_pylist()}
    paths = [f"corpus://{corpus}/{Path('stimuli', name)}/*.parquet" for name in sorted(folders)]
    stimuli = load_dataset("parquet", data_files=paths, split="train")
    items = {subset: items_of(part, stimuli, chosen) for subset, part in records.items()}
    return items, stimuli


def items_of(
    records: Dataset | IterableDataset, stimuli: Dataset, cells: Sequence[str]
) -> StreamedPopulation | Population:
    """The items of some cells: one for each of their stimuli that has a spectrogram."""
    known = set(stimuli["stim_id"])
    is_stream = isinstance(records, IterableDataset)
    if is_stream or not known.issuperset(records.unique("stim_id")):
        records = records.filter(lambda stim_id: stim_id in known, input_columns="stim_id")
    if is_stream:
        kept = records.filter(lambda cell: cell in cells, input_columns="cell_id")
        return StreamedPopulation(kept, stimuli)
    return Population(records, stimuli).select(cells={"cell_id": cells})


def fit(
    model: nn.Module,
    items: Items,
    scaler: BandScaler,
    epochs: int,
    *,
    learning_rate: float = 0.01,
    device: str = "cpu",
) -> list[float]:
    """Fit a model to spike counts.

    Parameters
    ----------
    model : Module
        (B, F, T) to (B, N, T) spikes per bin.
    items : Dataset
        Such as a `Population` gives.
    scaler : BandScaler
        Of the spectrograms.
    epochs : int
    learning_rate : float
        Of Adam, at first; it falls to 0 in a half cosine.
    device : str

    Returns
    -------
    list of float
        Of each epoch, the mean over batches of the negative log likelihood per bin, in nats.
    """
    n_bins = next(iter(items))["spectrogram"].shape[1]
    loader = torch.utils.data.DataLoader(
        items, max(1, BINS_PER_BATCH // n_bins), collate_fn=Population.collate
    )
    optimizer = torch.optim.Adam(model.to(device).parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    losses = []
    for _ in range(epochs):
        of_batches = []
        for batch in loader:
            rate = model(scaler.scale(batch["spectrogram"].to(device)))[:, :, None]
            counts = batch["response"].to(device).nan_to_num()
            counted = (batch["mask"] & batch["stimulus_mask"][:, None, None]).to(device)
            each = poisson_nll_loss(rate, counts, log_input=False, reduction="none")
            loss = (each * counted).sum() / counted.sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            of_batches.append(loss.item())
        schedule.step()
        losses.append(float(np.mean(of_batches)))
    return losses


@torch.no_grad()
def score(
    model: nn.Module, items: Any, cells: Sequence[str], scaler: BandScaler, device: str = "cpu"
) -> dict[str, NDArray[np.float64]]:
    """Correlation and normalised correlation of each of N cells, (N,), NaN where there is none.

    Parameters
    ----------
    model : Module
        Its outputs are `cells`.
    items : Population or StreamedPopulation
        Of validation stimuli; it may lack cells.
    cells : sequence of str
    scaler : BandScaler
    device : str
    """
    present = items.cells["cell_id"].to_pylist()
    rows = [cells.index(cell) for cell in present]
    predictions, responses = [], []
    for item in items:
        sound = scaler.scale(item["spectrogram"][None].to(device))
        # As long as the spectrogram: what is padded is not compared.
        predictions.append(model(sound)[0, rows][:, item["stimulus_mask"]].cpu().numpy())
        responses.append(item["response"].numpy())
    scores = {}
    for name, measure in (
        ("correlation", correlation),
        ("normalised_correlation", normalized_correlation),
    ):
        scores[name] = np.full(len(cells), np.nan)
        scores[name][rows] = measure(predictions, responses)
    return scores


def recovery(
    model: LinearNonlinear, cells: Sequence[str], scaler: BandScaler, path: Path
) -> NDArray[np.float64]:
    """Correlation of each cell's fitted filter with the planted one, (N,), NaN for unknown cells.

    Parameters
    ----------
    model : LinearNonlinear
    cells : sequence of str
        Its outputs.
    scaler : BandScaler
        Of the spectrograms that it was fitted to: planted filters are for unscaled ones.
    path : Path
        The ``filters.npz`` of a synthetic release.

    Raises
    ------
    CorpusError
        If the file holds none of the cells.
    """
    with np.load(path) as file:
        planted = dict(zip(file["cell_id"].tolist(), file["filters"], strict=True))
    span = np.subtract(scaler.high, scaler.low)[:, None]
    found = np.full(len(cells), np.nan)
    for row, (cell, fitted) in enumerate(zip(cells, model.fitted() / span, strict=True)):
        if cell in planted:
            known = np.zeros_like(fitted)
            known[:, : planted[cell].shape[1]] = planted[cell][:, :LAGS]
            found[row] = np.corrcoef(fitted.ravel(), known.ravel())[0, 1]
    if np.isnan(found).all():
        raise CorpusError(
            "cannot compare filters",
            where=path,
            why=f"it has none of the cells {', '.join(cells[:3])}, ...",
            fix="give the filters.npz that was written with the release that is loaded",
        )
    return found


def positive(text: str) -> int:
    """A whole number above 0, of the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not above 0")
    return number


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, `sys.argv` by default."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", default="wingert2026")
    parser.add_argument("--config", default="CLT028c", help="a site, or an area of nat4")
    parser.add_argument("--streaming", action="store_true")
    parser.add_argument("--cells", type=positive, help="how many cells to fit; all by default")
    parser.add_argument("--epochs", type=positive, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    # Where others use the cores too, threads that wait for each other take many times as long.
    parser.add_argument("--threads", type=positive, default=1, help="of the CPU")
    parser.add_argument("--filters", type=Path, help="the planted filters: filters.npz")
    parser.add_argument("--out", type=Path, help="where to write the results as JSON")
    options = parser.parse_args(arguments)

    disable_progress_bars()
    torch.set_num_threads(options.threads)
    start = time.perf_counter()
    items, stimuli = load(options.corpus, options.config, options.streaming, options.cells)
    est, val = items["est"], items["val"]
    cells = est.cells["cell_id"].to_pylist()
    scaler = BandScaler.fit(stimuli)
    seconds = time.perf_counter() - start
    print(f"{options.corpus} {options.config}: {len(cells)} cells, loaded in {seconds:.1f} s")

    results: dict[str, Any] = {"cells": cells, "models": {}}
    torch.manual_seed(options.seed)
    for model in (
        LinearNonlinear(len(scaler.low), len(cells)),
        ConvolutionalNetwork(len(scaler.low), len(cells)),
    ):
        start = time.perf_counter()
        losses = fit(model, est, scaler, options.epochs, device=options.device)
        seconds = time.perf_counter() - start
        scores = score(model, val, cells, scaler, options.device)
        if options.filters and isinstance(model, LinearNonlinear):
            scores["filter_recovery"] = recovery(model, cells, scaler, options.filters)
        print(
            f"{type(model).__name__}: {options.epochs} epochs on {options.device} in "
            f"{seconds:.1f} s, loss {losses[0]:.4f} to {losses[-1]:.4f}"
        )
        for name, values in scores.items():
            known = values[~np.isnan(values)]
            middle = f"median {np.median(known):.3f}" if len(known) else "not known"
            print(f"  {name}: {middle} of {len(known)} cells")
        results["models"][type(model).__name__] = {"losses": losses} | {
            name: [None if np.isnan(value) else value for value in values.tolist()]
            for name, values in scores.items()
        }
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
