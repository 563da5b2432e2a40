"""A linear-nonlinear model: for each cell one spectrotemporal filter, then a softplus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

from builders.encoders.parts import START, causal


class LinearNonlinear(nn.Module):
    """``gain * softplus(offset + filter * spectrogram)``, for N cells at once.

    Parameters
    ----------
    n_bands, n_cells : int
        F and N.
    lags : int
        L, how many bins of the past a filter sees.
    """

    def __init__(self, n_bands: int, n_cells: int, lags: int = 15) -> None:
        super().__init__()
        self.filters = nn.Conv1d(n_bands, n_cells, lags)
        self.log_gain = nn.Parameter(self.filters.weight.new_zeros(n_cells))
        nn.init.zeros_(self.filters.weight)
        nn.init.constant_(self.filters.bias, START)  # type: ignore[arg-type]

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Spikes per bin (B, N, T) for spectrograms (B, F, T)."""
        output = softplus(causal(self.filters, spectrogram))
        return self.log_gain.exp()[:, None] * output

    def fitted(self) -> NDArray[np.float32]:
        """The filters, (N, F, L), lag 0 first."""
        filters: NDArray[np.float32] = self.filters.weight.detach().cpu().numpy()[:, :, ::-1]
        return filters
