"""What the encoders share: convolutions that see no future, and the readout."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import pad, softplus

#: Where the input of the last nonlinearity begins: most bins have no spike.
START = -2.0


def causal(convolution: nn.Conv1d | nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution over the last axis of `x`, whose output at a bin depends on no later one."""
    output: Tensor = convolution(pad(x, (convolution.kernel_size[-1] - 1, 0)))
    return output


class Readout(nn.Module):
    """Spikes per bin of each of N cells: a softplus of a weighted sum of C channels.

    Parameters
    ----------
    n_channels, n_cells : int
        C and N.
    """

    def __init__(self, n_channels: int, n_cells: int) -> None:
        super().__init__()
        self.weights = nn.Conv1d(n_channels, n_cells, 1)
        nn.init.constant_(self.weights.bias, START)  # type: ignore[arg-type]

    def forward(self, channels: Tensor) -> Tensor:
        """(B, N, T) for channels (B, C, T)."""
        rates: Tensor = softplus(self.weights(channels))
        return rates
