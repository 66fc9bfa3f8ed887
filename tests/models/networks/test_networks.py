from __future__ import annotations

import numpy as np
import pytest

from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.network import Conv
from celosia.models.networks.catalogue import NETWORKS, build, find
from celosia.models.random_network import random_inputs
from celosia.models.storage import load, save

# Learnt parameters of the released models, batch normalisation included; of ResNet-20 those of
# table 6's 0.27 M with the 1x1 convolutions of option B.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet20": 272_474,
    "resnet50": 25_557_032,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
}

# Millions of products: those of MLPerf Tiny's reference models, to the digits that are published.
PRODUCTS = {"resnet8": 12.5, "ds_cnn": 2.7, "mobilenet_v1_025": 7.5, "autoencoder": 0.26}

# Width and shape of small versions; MLPerf Tiny's are small as they are.
SMALL = {
    "resnet20": (0.25, (3, 8, 8)),
    "resnet18": (1 / 16, (3, 64, 64)),
    "resnet50": (1 / 16, (3, 64, 64)),
    "mobilenet_v1": (0.125, (3, 64, 64)),
    "unet": (0.125, (3, 16, 16)),
    "mobilenet_v2": (0.125, (3, 64, 64)),
}

# Convolutions, global average pooling and linear layers included, and residual additions.
STEPS = {
    "resnet8": (11, 3),
    "resnet20": (23, 9),
    "resnet18": (22, 8),
    "resnet50": (55, 16),
    "mobilenet_v1": (29, 0),
    "mobilenet_v1_025": (29, 0),
    "mobilenet_v2": (54, 10),
    "efficientnet_lite0": (51, 9),
    "ds_cnn": (11, 0),
    "autoencoder": (10, 0),
    # 15 of 3x3 or 1x1; 4 phases each of the transposed convolution and the nearest resize, 16 of
    # the bilinear one.
    "unet": (15 + 4 + 16 + 2 + 4, 0),
}

# Other operations: poolings, joins, interleaves.
OTHERS = {"resnet18": 1, "resnet50": 1, "unet": 9}

# Convolutions that are a means: poolings and resizes.
HELPERS = {"autoencoder": 0, "unet": 20}


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_the_published_size(name: str) -> None:
    model = find(name).make(1.0)
    assert sum(weights.numel() for weights in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(
    "name",
    [
        # Real weights come in one size alone, which takes half a minute.
        pytest.param(name, marks=pytest.mark.campaign if name == "efficientnet_lite0" else ())
        for name in NETWORKS
    ],
)
def test_networks_are_imported_without_waste(name: str) -> None:
    width, shape = SMALL.get(name, (1.0, None))
    network = build(name, width=width, shape=shape)
    convs = [op for op in network.ops if isinstance(op, Conv)]
    assert (len(convs), sum(op.residual is not None for op in convs)) == STEPS[name]
    # Nearly everywhere global average pooling alone.
    assert sum(not op.useful for op in convs) == HELPERS.get(name, 1)
    assert len(network.ops) - len(convs) == OTHERS.get(name, 0)
    if name in PRODUCTS:
        assert round(network.macs / 1e6, 2 if name == "autoencoder" else 1) == PRODUCTS[name]
    if name == "mobilenet_v2":  # ReLU6 is a clip: of the stem, widenings, depthwise ones, the last
        assert sum(op.requant.low == 0 for op in convs if op.name != "pool") == 35


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "efficientnet_lite0"])
def test_random_networks_make_something_of_their_input(name: str) -> None:
    """Half of the codes that come out are others for another input: mistakes would show."""
    width, shape = SMALL.get(name, (1.0, None))
    network = build(name, width=width, shape=shape)
    first, second = (evaluate(network, random_inputs(network, 1, seed)) for seed in (1, 2))
    for output in network.outputs:
        assert np.mean(first[output] != second[output]) >= 0.5


def test_random_weights_are_marked_in_files_too(tmp_path) -> None:
    network = build("resnet20", width=0.25, shape=(3, 8, 8))
    assert not network.trained
    save(network, tmp_path / "network.celosia")
    assert not load(tmp_path / "network.celosia").trained


def test_unknown_networks_are_refused() -> None:
    with pytest.raises(CelosiaError, match="no network is called 'vgg': known are resnet8, "):
        build("vgg")
