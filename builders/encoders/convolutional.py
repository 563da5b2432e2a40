"""A convolutional network over frequency and time, shared by the cells of a population."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import pad, relu

from builders.encoders.parts import Readout, causal


class Convolutional2D(nn.Module):
    """Three convolutions over frequency and time, a layer over all bands, and a readout.

    In the manner of the 2D-CNN of Pennington & David, PLoS Comput Biol 2023.

    Parameters
    ----------
    n_bands, n_cells : int
        F and N.
    n_kernels, n_hidden : int
        Channels of the convolutions, and of the layer before the readout.
    lags : int
        Bins of the past that the first convolution sees. The others see two more each.
    """

    def __init__(
        self, n_bands: int, n_cells: int, n_kernels: int = 10, n_hidden: int = 90, lags: int = 15
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, n_kernels, (3, lags))
        self.second = nn.Conv2d(n_kernels, n_kernels, 3)
        self.third = nn.Conv2d(n_kernels, n_kernels, 3)
        self.hidden = nn.Conv1d(n_kernels * n_bands, n_hidden, 1)
        self.readout = Readout(n_hidden, n_cells)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Spikes per bin (B, N, T) for spectrograms (B, F, T)."""
        x = spectrogram[:, None]
        for convolution in (self.first, self.second, self.third):
            x = relu(causal(convolution, pad(x, (0, 0, 1, 1))))
        output: Tensor = self.readout(relu(self.hidden(x.flatten(1, 2))))
        return output
