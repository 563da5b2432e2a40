"""Fit encoding models on `est`, score them on `val`: what a trainer does with these data sets.

    python scripts/train_baseline.py nat4 A1 --out FOLDER
    builders score nat4 A1 FOLDER/transformer.parquet

The models are those of `builders.encoders`. They predict spikes per bin from the spectrogram as the
papers scale it, and are fitted by the likelihood of Poisson counts. A tenth of the stimuli of `est`
is held out: a fit ends when their likelihood no longer grows, and its best state is kept. On a
release made by ``builders synthesize --driven``, ``--filters`` compares the filters of the linear
model with those planted in the cells.

A response and its spectrogram may differ in length: the loss counts the bins that have both.
Records of a stimulus without a spectrogram are left out. A prediction has the length of the
response; after the end of the spectrogram, it is that for silence.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from datasets import Dataset, disable_progress_bars, load_dataset
from numpy.typing import NDArray
from torch import nn

import builders
from builders.conventions import SUBSETS
from builders.encoders.attention import Transformer
from builders.encoders.convolutional import Convolutional2D
from builders.encoders.fit import Fit
from builders.encoders.linear import LinearNonlinear
from builders.encoders.recurrent import StateNetwork
from builders.errors import CorpusError
from builders.population import Population, coverage
from builders.preprocess import BandScaler
from builders.ragged import shapes
from builders.scoring import SCORES, score
from builders.stimuli import load_stimuli
from builders.streamed import StreamedPopulation
from builders.synthetic.filters import read_filters

MODELS: dict[str, type[nn.Module]] = {
    "linear": LinearNonlinear,
    "cnn": Convolutional2D,
    "gru": StateNetwork,
    "transformer": Transformer,
}
HELD_OUT = 0.1  # of the stimuli of est
BINS_PER_BATCH = 1500  # 15 s of sound
LEARNING_RATE = {"linear": 0.01, "cnn": 0.003, "gru": 0.003, "transformer": 0.003}


def load(
    corpus: str, config: str, streaming: bool = False, n_cells: int | None = None, seed: int = 0
) -> tuple[dict[str, Any], Dataset]:
    """The items to fit, those held out, the records of `val`, and the stimuli of all.

    Parameters
    ----------
    corpus, config : str
    streaming : bool
        Whether the items to fit are made of a stream.
    n_cells : int, optional
        How many cells to take, the first ones.
    seed : int
        Of the choice of the stimuli that are held out.

    Returns
    -------
    dict
        ``fitted`` and ``held_out``, items; ``val``, the records.
    Dataset
        The stimuli.

    Raises
    ------
    CorpusError
        If the config has not both subsets, or not of records.
    """
    path = builders.path(corpus)
    records = load_dataset(path, config, streaming=streaming)
    if set(records) != set(SUBSETS):
        raise CorpusError(
            f"cannot fit and score models on {corpus} {config}",
            why=f"its splits are {', '.join(records)}",
            fix="name a config of records with est and val, such as a site",
        )
    heard = coverage(records["est"]).stimuli["stim_id"].to_pylist()
    val = load_dataset(path, config, split="val")
    stimuli = load_stimuli(corpus, [*heard, *val.unique("stim_id")])
    known = set(stimuli["stim_id"])
    est = records["est"]
    if not known.issuperset(heard):
        est = est.filter(lambda stim_id: stim_id in known, input_columns="stim_id")
    items = StreamedPopulation(est, stimuli, seed=seed) if streaming else Population(est, stimuli)
    stim_ids = sorted(items.stimuli["stim_id"].to_pylist())
    random.Random(seed).shuffle(stim_ids)
    n_held_out = max(1, round(HELD_OUT * len(stim_ids)))
    cells = {"cell_id": items.cells["cell_id"].to_pylist()[:n_cells]}
    return {
        "fitted": items.select(cells, {"stim_id": stim_ids[:-n_held_out]}),
        "held_out": items.select(cells, {"stim_id": stim_ids[-n_held_out:]}),
        "val": val,
    }, stimuli


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
    file = read_filters(path)
    planted = dict(zip(file.cell_ids, file.filters, strict=True))
    span = np.subtract(scaler.high, scaler.low)[:, None]
    found = np.full(len(cells), np.nan)
    for row, (cell, fitted) in enumerate(zip(cells, model.fitted() / span, strict=True)):
        if cell in planted:
            known = np.zeros_like(fitted)
            known[:, : planted[cell].shape[1]] = planted[cell][:, : fitted.shape[1]]
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
    parser.add_argument("corpus", nargs="?", default="wingert2026")
    parser.add_argument("config", nargs="?", default="CLT028c", help="a site, or an area")
    parser.add_argument("--models", nargs="+", choices=[*MODELS], default=[*MODELS])
    parser.add_argument("--out", type=Path, help="a folder for predictions and results.json")
    parser.add_argument("--streaming", action="store_true")
    parser.add_argument("--cells", type=positive, help="how many cells to fit; all by default")
    parser.add_argument("--epochs", type=positive, default=20, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    # Where others use the cores too, threads that wait for each other take many times as long.
    parser.add_argument("--threads", type=positive, default=1, help="of the CPU")
    parser.add_argument("--filters", type=Path, help="the planted filters: filters.npz")
    options = parser.parse_args(arguments)

    disable_progress_bars()
    torch.set_num_threads(options.threads)
    start = time.perf_counter()
    data, stimuli = load(
        options.corpus, options.config, options.streaming, options.cells, options.seed
    )
    cells = data["fitted"].cells["cell_id"].to_pylist()
    scaler = BandScaler.fit(stimuli, subset="est")
    longest = int(shapes(stimuli.with_format("arrow")[:]["spectrogram"])[1].max())
    batch_size = max(1, BINS_PER_BATCH // longest)
    seconds = time.perf_counter() - start
    print(f"{options.corpus} {options.config}: {len(cells)} cells, loaded in {seconds:.1f} s")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)

    results: dict[str, Any] = {"arguments": vars(options), "models": {}}
    for name in options.models:
        torch.manual_seed(options.seed)
        start = time.perf_counter()
        model = MODELS[name](len(scaler.low), len(cells))
        fit = Fit(model, cells, scaler, batch_size, options.device)
        losses = fit.fit(
            data["fitted"], data["held_out"], options.epochs, LEARNING_RATE[name], options.seed
        )
        predictions = fit.predictions(data["val"], stimuli)
        seconds = time.perf_counter() - start
        scores = score(data["val"], predictions, partial=True)
        found = {key: scores.cells[key].to_numpy() for key in SCORES}
        if options.filters and isinstance(model, LinearNonlinear):
            found["filter_recovery"] = recovery(model, cells, scaler, options.filters)
        print(
            f"{name}: {len(losses['fitted'])} epochs on {options.device} in {seconds:.1f} s, "
            f"loss {losses['held_out'][0]:.4f} to {min(losses['held_out']):.4f}"
        )
        for key, values in found.items():
            known = values[~np.isnan(values)]
            means = f"mean {known.mean():.3f}, median {np.median(known):.3f}"
            print(f"  {key}: {means if len(known) else 'not known'} of {len(known)} cells")
        if options.out:
            pq.write_table(predictions, options.out / f"{name}.parquet")
        results["models"][name] = {"losses": losses, "seconds": seconds} | {
            key: [None if np.isnan(value) else value for value in values.tolist()]
            for key, values in found.items()
        }
    if options.out:
        text = json.dumps(results, indent=1, default=str)
        (options.out / "results.json").write_text(text)


if __name__ == "__main__":
    main()
