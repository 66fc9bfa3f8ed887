"""Convolutions as sparse matrices: the same integers in every tensor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.archive import export_model
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.golden import evaluate
from celosia.models.importer import import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.lower_convolutions import (
    lower_convolutions,
    short_multipliers,
    stored_weights,
)
from celosia.models.network import Conv, MaxPool, Network, Requant, Rounding, Tensor, Window
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe

SEED = 31
BYTE = Fixed(bits=8)


def quantised(module, shape):
    """Return a network of ``module``, and codes of eight inputs."""
    module = module.eval()
    graph = import_program(export_model(module, (torch.zeros(1, *shape),)), "net")
    x = np.random.default_rng(SEED).normal(0, 1, (8, *shape)).astype(np.float32)
    network = quantize(graph, x, Recipe(activation_bits=8))
    return network, quantise_inputs(network, x)


MODULES = {
    "strides, groups, slopes, ceil mode": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1, stride=2), nn.PReLU(6), nn.Conv2d(6, 6, 3, groups=3),
            nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Flatten(), nn.Linear(24, 5),
        ),
        (2, 12, 11),
    ),
    "dilation, padded maxima, averages, a limit": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, (3, 2), padding=(2, 1), dilation=2), nn.MaxPool2d(2, padding=1),
            nn.Conv2d(4, 4, 1), nn.PReLU(init=-0.3), nn.AvgPool2d(2), nn.Conv2d(4, 3, 2),
            nn.ReLU6(),
        ),
        (1, 9, 8),
    ),
    "a maximum of one": (lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.MaxPool2d(1, 2)), (1, 6, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_every_tensor_has_the_same_codes(name):
    make, shape = MODULES[name]
    torch.manual_seed(SEED)
    network, codes = quantised(make(), shape)
    short = short_multipliers(network)
    lowered = lower_convolutions(short)
    golden = evaluate(short, codes)
    flat = {name: values.reshape(len(values), -1, 1, 1) for name, values in codes.items()}
    found = evaluate(lowered, flat)
    for tensor, values in golden.items():
        assert (found[tensor].reshape(values.shape) == values).all(), tensor
    # What was shortened is nearly what it was.
    before, after = (evaluate(net, codes)[net.outputs[0]] for net in (network, short))
    assert np.abs(before - after).max() <= 2


def one_layer(rng, *, positive, negative, low, high=127, shift=5, output=BYTE, **fields):
    """A 1x1 convolution of random weights with the multipliers given."""
    rows = len(positive)
    requant = Requant(
        bias=rng.integers(-50, 50, rows),
        positive=np.array(positive),
        negative=np.array(negative),
        residual=np.zeros(rows, np.int64),
        shift=np.full(rows, shift) + np.arange(rows),
        low=low,
        high=high,
    )
    conv = Conv(
        name="conv", input="x", output="y", window=Window(kernel=(1, 1)), groups=1,
        weights=rng.integers(-7, 8, (rows, 3, 1, 1)), formats=(Fixed(bits=4),) * rows,
        requant=requant,
    )  # fmt: skip
    return Network(
        name="one",
        tensors=(
            Tensor(name="x", shape=(3, 4, 4), format=BYTE, scale=1.0),
            Tensor(name="y", shape=(rows, 4, 4), format=output, scale=1.0),
        ),
        inputs=("x",),
        outputs=("y",),
        ops=(replace(conv, **fields),),
    )


@pytest.mark.parametrize(
    ("positive", "negative", "low", "layers"),
    [
        ([5, 7], [0, 0], -128, 1),
        ([5, 7], [3, -9], 0, 2),
        ([5, 7], [3, 9], 0, 1),
        ([5, 7], [5, 7], -128, 1),
        ([5, -7], [5, -7], -100, 1),
        ([5, 7], [1, -2], -128, 2),
        ([-5, 0], [4, 3], -128, 2),
    ],
)
def test_all_signs_of_multipliers(positive, negative, low, layers):
    rng = np.random.default_rng(SEED)
    network = one_layer(rng, positive=positive, negative=negative, low=low)
    codes = rng.integers(-128, 128, (200, 3, 4, 4))
    lowered = lower_convolutions(network)
    assert len(lowered.ops) == layers
    found = evaluate(lowered, {"x": codes.reshape(200, -1, 1, 1)})["y"]
    golden = evaluate(network, {"x": codes})["y"]
    assert (found.reshape(golden.shape) == golden).all()


@pytest.mark.parametrize(
    ("code", "low", "high"),
    [(Fixed(bits=16), -32768, 32767), (Fixed(bits=16, signed=False), 0, 65535)],
)
def test_halves_reach_as_far_as_outputs(code, low, high):
    """Also where these are wider than the engines' activations."""
    rng = np.random.default_rng(SEED)
    network = one_layer(
        rng, positive=[900, 700], negative=[800, -600], low=low, high=high, shift=0, output=code
    )
    codes = rng.integers(-128, 128, (50, 3, 4, 4))
    golden = evaluate(network, {"x": codes})["y"]
    assert golden.max() == high
    assert golden.min() == low
    found = evaluate(lower_convolutions(network), {"x": codes.reshape(50, -1, 1, 1)})["y"]
    assert (found.reshape(golden.shape) == golden).all()


def test_stored_weights_are_those_of_all_places():
    rng = np.random.default_rng(SEED)
    network = one_layer(rng, positive=[1, 1], negative=[1, 1], low=-128)
    conv = network.ops[0]
    assert isinstance(conv, Conv)
    own = int(np.count_nonzero(conv.weights))
    assert stored_weights(network) == {"conv": (own, 16 * own)}


def refused(**fields):
    return one_layer(
        np.random.default_rng(SEED), positive=[5, 7], negative=[5, 7], low=-128, **fields
    )


def with_requant(**fields):
    network = refused()
    conv = network.ops[0]
    assert isinstance(conv, Conv)
    return replace(network, ops=(replace(conv, requant=replace(conv.requant, **fields)),))


def test_what_has_no_exact_form_is_refused():
    with pytest.raises(CelosiaError, match=r"'conv' has no exact form .*: it rounds ties upwards"):
        lower_convolutions(with_requant(rounding=Rounding.HALF_UP))
    with pytest.raises(CelosiaError, match="its clamp leaves out 0"):
        lower_convolutions(with_requant(low=3))
    with pytest.raises(CelosiaError, match=r"need 2\d bits, compressed layers have 16: shorten"):
        lower_convolutions(with_requant(positive=np.array([131071, 5])))
    with pytest.raises(CelosiaError, match=r"weights up to 6 leave no room .* within 4 bits"):
        short_multipliers(refused(), bits=4)
    with pytest.raises(ValueError, match=r"bits must be in 4\.\.16, not 17"):
        short_multipliers(refused(), bits=17)


class Joins(nn.Module):
    def __init__(self, concat):
        super().__init__()
        self.a, self.b, self.concat = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1), concat

    def forward(self, x):
        a, b = torch.relu(self.a(x)), torch.relu(self.b(x))
        return torch.cat([a, b], 1) if self.concat else a + b


@pytest.mark.parametrize(
    ("concat", "message"), [(True, "it is a concat"), (False, "it has a residual operand")]
)
def test_joins_are_refused(concat, message):
    network, _ = quantised(Joins(concat), (2, 4, 4))
    with pytest.raises(CelosiaError, match=message):
        lower_convolutions(short_multipliers(network))


def test_maxima_alone():
    """Over windows of 1 to 7 elements, padding never winning."""
    rng = np.random.default_rng(SEED)
    for kernel in ((1, 2), (1, 3), (2, 2), (1, 5), (2, 3), (1, 7)):
        window = Window(kernel=kernel, stride=(1, 2), padding=(0, 0, 0, kernel[1] // 2))
        height, width = window.output_size(4, 9)
        base = refused()
        pool = MaxPool(name="pool", input="y", output="z", window=window)
        target = Tensor(name="z", shape=(2, height, width), format=Fixed(bits=8), scale=1.0)
        wide = {"x": (3, 4, 9), "y": (2, 4, 9)}
        network = replace(
            base,
            tensors=(*(replace(t, shape=wide[t.name]) for t in base.tensors), target),
            outputs=("z",),
            ops=(*base.ops, pool),
        )
        codes = rng.integers(-128, 128, (20, 3, 4, 9))
        found = evaluate(lower_convolutions(network), {"x": codes.reshape(20, -1, 1, 1)})["z"]
        golden = evaluate(network, {"x": codes})["z"]
        assert (found.reshape(golden.shape) == golden).all(), kernel
