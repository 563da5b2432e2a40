"""Fits an encoder to a population by the likelihood of Poisson counts, and predicts with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad, poisson_nll_loss

from builders.coverage import coverage
from builders.population import Population
from builders.preprocess import BandScaler
from builders.ragged import shapes
from builders.rows import in_arrow
from builders.streamed import StreamedPopulation

PATIENCE = 4  # epochs without a gain, after which a fit ends

Items = Population | StreamedPopulation


class Fit:
    """A model, and how it is fitted and used.

    Parameters
    ----------
    model : Module
        (B, F, T) to (B, N, T) spikes per bin.
    cells : sequence of str
        Its outputs.
    scaler : BandScaler
        Of the spectrograms.
    batch_size : int
        In items.
    device : str
    """

    def __init__(
        self,
        model: nn.Module,
        cells: Sequence[str],
        scaler: BandScaler,
        batch_size: int = 1,
        device: str = "cpu",
    ) -> None:
        self.model = model.to(device)
        self._rows = {cell: row for row, cell in enumerate(cells)}
        self._scaler, self._batch_size, self._device = scaler, batch_size, device

    def rates(self, spectrogram: Tensor) -> Tensor:
        """Spikes per bin (B, N, T) for spectrograms as released, (B, F, T)."""
        rates: Tensor = self.model(self._scaler.scale(spectrogram.to(self._device)))
        return rates

    def loss(self, batch: dict[str, Any], cells: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Negative log likelihood of a batch's counts in nats, and the number of counts."""
        rate = self.rates(batch["spectrogram"])
        if [*cells] != [*self._rows]:
            rate = rate[:, [self._rows[cell] for cell in cells]]
        counts = batch["response"].to(self._device).nan_to_num()
        counted = (batch["mask"] & batch["stimulus_mask"][:, None, None]).to(self._device)
        each = poisson_nll_loss(rate[:, :, None], counts, log_input=False, reduction="none")
        return (each * counted).sum(), counted.sum()

    def epoch(self, items: Items, seed: int, optimizer: torch.optim.Optimizer | None) -> float:
        """Go through the items once, and fit if there is an optimizer; gives the loss per count."""
        total, number = 0.0, 0.0
        cells = items.cells["cell_id"].to_pylist()
        for batch in self._batches(items, seed if optimizer else None):
            loss, n = self.loss(batch, cells)
            if optimizer:
                optimizer.zero_grad()
                (loss / n.clamp(min=1)).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            total, number = total + loss.item(), number + n.item()
        return total / max(number, 1)

    def fit(
        self, fitted: Items, held_out: Items, epochs: int, learning_rate: float, seed: int = 0
    ) -> dict[str, list[float]]:
        """Fit until the held-out stimuli gain no more; returns the losses of each epoch.

        The learning rate of Adam falls to 0 in a half cosine over `epochs`.
        """
        optimizer = torch.optim.Adam(self.model.parameters(), learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        losses: dict[str, list[float]] = {"fitted": [], "held_out": []}
        best = {name: value.clone() for name, value in self.model.state_dict().items()}
        for epoch in range(epochs):
            self.model.train()
            losses["fitted"].append(self.epoch(fitted, seed + epoch, optimizer))
            schedule.step()
            self.model.eval()
            with torch.no_grad():
                losses["held_out"].append(self.epoch(held_out, 0, None))
            since = epoch - int(np.argmin(losses["held_out"]))
            if not since:
                best = {name: value.clone() for name, value in self.model.state_dict().items()}
            if since >= PATIENCE:
                break
        self.model.load_state_dict(best)
        return losses

    @torch.no_grad()
    def predictions(self, records: Dataset, stimuli: Dataset) -> pa.Table:
        """Spikes per bin for each record of these cells: ``cell_id``, ``stim_id``, ``prediction``.

        A prediction is as long as the record's response. Where the spectrogram is shorter, it goes
        on with silence. Records of stimuli without a spectrogram have no prediction.
        """
        found = coverage(records)
        lengths = shapes(in_arrow(records).select_columns("response")[:]["response"])[1]
        cells = found.cells["cell_id"].to_pylist()
        rows = {stim_id: row for row, stim_id in enumerate(stimuli["stim_id"])}
        ids: dict[str, list[str]] = {"cell_id": [], "stim_id": []}
        predicted: list[NDArray[np.float32]] = []
        self.model.eval()
        for number, stim_id in enumerate(found.stimuli["stim_id"].to_pylist()):
            if stim_id not in rows:
                continue
            of_stimulus = np.flatnonzero(found.stimulus == number)
            sound = torch.tensor(stimuli[rows[stim_id]]["spectrogram"])
            missing = max(0, int(lengths[of_stimulus].max()) - sound.shape[1])
            rates = self.rates(pad(sound, (0, missing))[None])[0].cpu().numpy()
            for record in of_stimulus:
                cell = cells[found.cell[record]]
                if (row := self._rows.get(cell)) is not None:
                    ids["cell_id"].append(cell)
                    ids["stim_id"].append(stim_id)
                    predicted.append(rates[row, : lengths[record]])
        return pa.table({**ids, "prediction": pa.array(predicted, pa.list_(pa.float32()))})

    def _batches(self, items: Items, seed: int | None) -> Iterator[dict[str, Any]]:
        """Batches of items, in order or, if there is a seed, shuffled; a stream shuffles itself."""
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        is_shuffled = generator is not None and not isinstance(items, StreamedPopulation)
        yield from torch.utils.data.DataLoader(
            items,
            self._batch_size,
            shuffle=is_shuffled,
            collate_fn=Population.collate,
            generator=generator,
        )
