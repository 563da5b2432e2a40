"""The encoders: what they compute, that they see no future, and that any length will do."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from builders.encoders.attention import Block
from builders.encoders.linear import LinearNonlinear
from builders.encoders.recurrent import StateNetwork
from scripts.train_baseline import MODELS

LAGS = 15


@pytest.fixture(params=[*MODELS])
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    made: torch.nn.Module = MODELS[request.param](3, 2).eval()
    for parameter in made.parameters():  # the linear one begins at 0
        torch.nn.init.normal_(parameter, std=0.3)
    return made


@torch.no_grad()
def test_no_model_looks_ahead(model: torch.nn.Module) -> None:
    sound = torch.rand(1, 3, 40)
    before = model(sound)
    for bin_ in (0, 20, 39):
        changed = sound.clone()
        changed[..., bin_:] += 1
        after = model(changed)
        torch.testing.assert_close(before[..., :bin_], after[..., :bin_])
        assert not torch.equal(before[..., bin_], after[..., bin_])


@torch.no_grad()
def test_any_length_and_batch_will_do(model: torch.nn.Module) -> None:
    """And zeros after a sound, with which batches are padded, change nothing before them."""
    sounds = torch.rand(3, 3, 130)
    whole = model(sounds)
    assert whole.shape == (3, 2, 130)
    assert (whole >= 0).all()
    for n_bins in (1, 14, 60, 130):
        for row in range(3):
            alone = model(sounds[row : row + 1, :, :n_bins])
            torch.testing.assert_close(alone[0], whole[row, :, :n_bins], rtol=1e-4, atol=1e-5)


def test_every_parameter_is_fitted(model: torch.nn.Module) -> None:
    model(torch.rand(2, 3, 60)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_linear_nonlinear_model_is_what_it_says() -> None:
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


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@torch.no_grad()
def test_a_state_remembers(kind: str) -> None:
    """A click changes what follows, less and less."""
    torch.manual_seed(0)
    model = StateNetwork(3, 2, n_hidden=16, kind=kind)
    sound = torch.zeros(1, 3, 60)
    clicked = sound.clone()
    clicked[..., 10] = 1
    apart = (model(clicked) - model(sound)).abs().sum((0, 1))
    assert (apart[:10] == 0).all()
    assert apart[11] > 0
    parts = [float(apart[begin : begin + 10].sum()) for begin in range(11, 51, 10)]
    assert all(before > after for before, after in pairwise(parts))


@torch.no_grad()
def test_attention_piece_by_piece_is_attention_to_the_past() -> None:
    """Beside a second implementation that looks at all pairs of bins."""
    torch.manual_seed(0)
    block, past = Block(8, 2), 5
    x = torch.rand(1, 20, 8)
    query, key, value = block.to_heads(block.norms[0](x))[0].view(20, 3, 2, 4).permute(1, 2, 0, 3)
    attended = torch.zeros(20, 2, 4)
    for head in range(2):
        rate = float(block.log_rates[head].exp())
        for bin_ in range(20):
            seen = range(max(0, bin_ - past + 1), bin_ + 1)
            logits = [
                float(query[head, bin_] @ key[head, other]) / 2 - rate * (bin_ - other)
                for other in seen
            ]
            weights = torch.tensor(logits).softmax(0)
            for weight, other in zip(weights, seen, strict=True):
                attended[bin_, head] += weight * value[head, other]
    middle = x + block.from_heads(attended.view(1, 20, 8))
    hidden = torch.nn.functional.gelu(block.layers[0](block.norms[1](middle)))
    torch.testing.assert_close(block(x, past), middle + block.layers[1](hidden))
