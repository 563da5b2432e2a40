"""A recurrent network whose state is shared by the cells of a population."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from builders.encoders.parts import Readout


class StateNetwork(nn.Module):
    """A layer over the bands, a recurrent state, and a readout.

    A small one of the kind that is called StateNet in the published results on nat4's card.

    Parameters
    ----------
    n_bands, n_cells : int
        F and N.
    n_hidden : int
        Channels of the state, and of the layer before it.
    kind : {"gru", "lstm"}
    """

    def __init__(self, n_bands: int, n_cells: int, n_hidden: int = 128, kind: str = "gru") -> None:
        super().__init__()
        self.hidden = nn.Linear(n_bands, n_hidden)
        self.state = {"gru": nn.GRU, "lstm": nn.LSTM}[kind](n_hidden, n_hidden, batch_first=True)
        self.readout = Readout(2 * n_hidden, n_cells)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Spikes per bin (B, N, T) for spectrograms (B, F, T)."""
        hidden = relu(self.hidden(spectrogram.transpose(1, 2)))
        state, _ = self.state(hidden)
        # Beside the state, the readout sees what comes in, so that the state need not carry it.
        output: Tensor = self.readout(torch.cat([hidden, state], -1).transpose(1, 2))
        return output
