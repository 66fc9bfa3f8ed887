"""AdderNet's and DeepShift's layers: values, padding and gradients on worked examples."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.addernet import AdderConv2d, ShiftConv2d, ShiftMode, adapt_rates, distance
from celosia.models.addernet_zoo import (
    adder_net,
    adder_workload,
    shift_add_net,
    shift_add_workload,
    train,
)
from celosia.models.blueprint import DIGITS
from celosia.models.zoo import digit_data

X = torch.tensor([5.0, -2.0, 7.0, 0.5, 0.25])
W = torch.tensor([3.0, 4.0, 7.0, 1.0, -0.5])


def test_worked_example() -> None:
    windows, filters = torch.tensor([[5.0, -2.0, 7.0]]), torch.tensor([[3.0, 4.0, 7.0]])
    assert distance(windows, filters).tolist() == [[-8.0]]


def test_gradients_equal_the_formulas() -> None:
    windows = X[None].clone().requires_grad_()
    filters = torch.stack([W, -W]).requires_grad_()
    result = distance(windows, filters)
    upstream = torch.tensor([[2.0, -3.0]])
    torch.autograd.backward(result, upstream)
    by_window = sum(upstream[0, o] * (filters[o] - X).clamp(-1, 1) for o in (0, 1))
    torch.testing.assert_close(windows.grad, by_window[None])
    torch.testing.assert_close(filters.grad, upstream.T * (X - filters.detach()))
    # The formulas of one filter, in numbers: x - w and clip(w - x, -1, 1).
    assert (X - W).tolist() == [2.0, -6.0, 0.0, -0.5, 0.75]
    assert (W - X).clamp(-1, 1).tolist() == [-1.0, 1.0, 0.0, 0.5, -0.75]


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 1)])
def test_adder_layer_against_loops(stride: int, padding: int) -> None:
    rng = np.random.default_rng(5)
    x, w = rng.normal(size=(2, 3, 5, 6)), rng.normal(size=(4, 3, 3, 3))
    layer = AdderConv2d(3, 4, 3, stride, padding).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(w))
        found = layer(torch.from_numpy(x)).numpy()
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    height, width = (padded.shape[2] - 3) // stride + 1, (padded.shape[3] - 3) // stride + 1
    assert found.shape == (2, 4, height, width)
    for n, o, y, z in itertools.product(range(2), range(4), range(height), range(width)):
        part = padded[n, :, stride * y : stride * y + 3, stride * z : stride * z + 3]
        assert found[n, o, y, z] == pytest.approx(-np.abs(part - w[o]).sum())


def test_adaptive_rate() -> None:
    adder, other = AdderConv2d(2, 3, 3), nn.Linear(2, 2)
    adder.weight.grad = torch.full(adder.shape, 7.0)
    other.weight.grad = torch.ones(2, 2)
    adapt_rates([adder, other])
    # eta * sqrt(k) / |g| * g: every entry of a constant gradient becomes eta.
    torch.testing.assert_close(adder.weight.grad, torch.full(adder.shape, 0.2))
    assert other.weight.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_shift_worked_example() -> None:
    layer = ShiftConv2d(3, 1, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.3, -0.12, 0.9]).reshape(1, 3, 1, 1))
        assert layer(torch.tensor([12.0, -7.0, 30.0]).reshape(1, 3, 1, 1)).item() == 33.875
    assert layer.values().flatten().tolist() == [4096, -2048, 16384]


@pytest.mark.parametrize("mode", ShiftMode)
@pytest.mark.parametrize("bits", [3, 4, 5])
def test_shift_weights_are_values_of_the_format(mode: ShiftMode, bits: int) -> None:
    torch.manual_seed(1)
    layer = ShiftConv2d(3, 8, 3, bits=bits, mode=mode)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(torch.exp(3 * torch.randn(parameter.shape)))
    values = layer.values().numpy()
    assert np.isin(values, layer.format.values).all()
    torch.testing.assert_close(layer.power().detach(), torch.tensor(values) / layer.format.high)
    assert layer.lowest == -(2 ** (bits - 1) - 2)


def test_sign_threshold_and_gradients_of_shifts() -> None:
    layer = ShiftConv2d(1, 3, 1, mode=ShiftMode.PS)
    with torch.no_grad():
        layer.sign.copy_(torch.tensor([0.29, -0.31, 5.0]).reshape(3, 1, 1, 1))
        layer.exponent.copy_(torch.tensor([-1.0, -1.6, 9.0]).reshape(3, 1, 1, 1))
    power = layer.power()
    assert power.flatten().tolist() == [0.0, -0.25, 1.0]
    torch.autograd.backward(power, torch.ones_like(power))
    assert layer.sign.grad is not None
    assert layer.sign.grad.flatten().tolist() == [0.5, 0.25, 1.0]  # 2**p
    latent = ShiftConv2d(1, 2, 1)
    torch.autograd.backward(latent.power(), torch.ones(latent.shape))
    assert latent.weight.grad is not None
    assert latent.weight.grad.flatten().tolist() == [1.0, 1.0]


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="stride must be at least 1, not 0"):
        AdderConv2d(1, 1, 3, stride=0)
    with pytest.raises(ValueError, match="padding must be at least 0, not -1"):
        ShiftConv2d(1, 1, 3, padding=-1)
    with pytest.raises(ValueError, match="2 to 5 bits"):
        ShiftConv2d(1, 1, 3, bits=6)


@pytest.mark.parametrize("network", [adder_net, shift_add_net])
def test_training_learns_and_is_deterministic(network: Callable[[], nn.Module]) -> None:
    images, labels = (torch.from_numpy(part[:192]) for part in digit_data().part(test=False))

    def trained() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = network()
            train(model, images, labels, epochs=4)
        return model

    first, again = trained(), trained()
    for one, two in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    scores = first.train()(images)  # with the batch's own statistics: the running ones lag
    assert (scores.argmax(dim=1) == labels).float().mean() > 0.6


@pytest.mark.campaign
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_accuracy_of_whole_trainings(seed: int) -> None:
    """Both are within 2 and 3 points of the multiplying network, which has 0.99."""
    for work in (
        adder_workload(digit_data(), DIGITS, seed=seed),
        *(shift_add_workload(digit_data(), DIGITS, seed=seed, mode=m) for m in ShiftMode),
    ):
        assert work.accuracy(work.run_float()) > 0.97, work.name
