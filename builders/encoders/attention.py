"""A transformer along time, shared by the cells of a population."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

from builders.encoders.parts import Readout, causal


class Transformer(nn.Module):
    """A convolution over the bands and a few bins, blocks of attention to the past, a readout.

    Parameters
    ----------
    n_bands, n_cells : int
        F and N.
    n_channels, n_heads, n_blocks : int
        The number of channels is to be a multiple of the number of heads.
    lags : int
        Bins that the convolution sees.
    past : int
        How many bins back a bin attends to.
    """

    def __init__(
        self,
        n_bands: int,
        n_cells: int,
        n_channels: int = 96,
        n_heads: int = 4,
        n_blocks: int = 2,
        lags: int = 7,
        past: int = 50,
    ) -> None:
        super().__init__()
        self.past = past
        self.embedding = nn.Conv1d(n_bands, n_channels, lags)
        self.blocks = nn.ModuleList([Block(n_channels, n_heads) for _ in range(n_blocks)])
        self.readout = Readout(n_channels, n_cells)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Spikes per bin (B, N, T) for spectrograms (B, F, T)."""
        n_bins = spectrogram.shape[-1]
        whole = pad(spectrogram, (0, -n_bins % self.past))
        x = causal(self.embedding, whole).transpose(1, 2)
        for block in self.blocks:
            x = block(x, self.past)
        output: Tensor = self.readout(x.transpose(1, 2)[..., :n_bins])
        return output


class Block(nn.Module):
    """Attention, then a layer for each bin, each added to what comes in.

    There is no encoding of positions: the further back a bin is, the less it counts, at a rate of
    each head (Press, Smith & Lewis, "Train short, test long", ICLR 2022). The rates are learned.
    """

    def __init__(self, n_channels: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norms = nn.ModuleList([nn.LayerNorm(n_channels) for _ in range(2)])
        self.to_heads = nn.Linear(n_channels, 3 * n_channels)
        self.from_heads = nn.Linear(n_channels, n_channels)
        self.layers = nn.ModuleList(
            [nn.Linear(n_channels, 2 * n_channels), nn.Linear(2 * n_channels, n_channels)]
        )
        self.log_rates = nn.Parameter(-torch.arange(n_heads, dtype=torch.float32))

    def forward(self, x: Tensor, past: int) -> Tensor:
        """(B, T, C) for inputs (B, T, C), with T a multiple of `past`."""
        n_batch, n_bins, n_channels = x.shape
        shape = n_batch, n_bins // past, past, 3, self.n_heads, n_channels // self.n_heads
        heads = self.to_heads(self.norms[0](x)).view(shape)
        query, key, value = heads.permute(3, 0, 4, 1, 2, 5)  # each (B, heads, pieces, past, C)
        # What a bin attends to lies in its piece and in the one before: the work grows as T does.
        key, value = (torch.cat([each.roll(1, 2), each], 3) for each in (key, value))
        attended = scaled_dot_product_attention(query, key, value, self._bias(shape[1], past))
        x = x + self.from_heads(attended.permute(0, 2, 3, 1, 4).reshape(x.shape))
        output: Tensor = x + self.layers[1](gelu(self.layers[0](self.norms[1](x))))
        return output

    def _bias(self, n_pieces: int, past: int) -> Tensor:
        """(heads, pieces, past, 2 past): how much less each bin counts, from each bin."""
        bins = torch.arange(past, device=self.log_rates.device)
        back = bins[:, None] - torch.cat([bins - past, bins])
        bias = -self.log_rates.exp()[:, None, None] * back
        bias = bias.masked_fill((back < 0) | (back >= past), -torch.inf)
        bias = bias[:, None].repeat(1, n_pieces, 1, 1)
        bias[:, 0, :, :past] = -torch.inf  # there is no piece before the first
        return bias
