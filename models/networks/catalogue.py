"""Networks by name, as integer networks: for cycles only where their weights are random.

EfficientNet-Lite0 has the weights of a package. Those of the others are in none; theirs are drawn
at random, the same each time. Shapes, strides, padding and residual additions are those of the
published network, and with them cycles, accesses and energy; what it computes means nothing.
``Network.trained`` tells.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import nn

from celosia.models.archive import export_model
from celosia.models.errors import CelosiaError
from celosia.models.find_scales import ScaleMethod
from celosia.models.graph import FloatGraph
from celosia.models.importer import import_program
from celosia.models.network import Network
from celosia.models.networks.efficientnet import EfficientNetLite0, trained
from celosia.models.networks.mobilenet import MobileNetV1, MobileNetV2
from celosia.models.networks.photos import calibration
from celosia.models.networks.resnet import CifarResNet, ImageNetResNet
from celosia.models.networks.tiny import DSCNN, Autoencoder
from celosia.models.networks.unet import UNet
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe
from celosia.models.threads import single_thread

QUICK: Final = Recipe(scale=ScaleMethod.MAX, activation_scale=ScaleMethod.MAX, error_feedback=False)
"""60 % of each layer's rows SP2-4 and 40 % fixed-4, activations of 8 bits, found in seconds."""

Shape = tuple[int, int, int]

_INPUTS: Final = 4
"""Random inputs that networks with random weights have batch statistics and scales from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Builtin:
    """A network that comes with Celosia.

    Attributes
    ----------
    name
        What commands call it.
    title
        What people call it.
    shape
        (C, H, W) of its input.
    make
        Returns the float network for a share of the published channels.
    trained
        Returns it as published with trained weights; None where there are none.
    """

    name: str
    title: str
    shape: Shape
    make: Callable[[float], nn.Module]
    trained: Callable[[], nn.Module] | None = None


_ALL = (
    Builtin(
        name="resnet8",
        title="ResNet-8 (MLPerf Tiny)",
        shape=(3, 32, 32),
        make=lambda width: CifarResNet(1, width),
    ),
    Builtin(
        name="resnet20",
        title="ResNet-20 (CIFAR)",
        shape=(3, 32, 32),
        make=lambda width: CifarResNet(3, width),
    ),
    Builtin(
        name="resnet18",
        title="ResNet-18",
        shape=(3, 224, 224),
        make=lambda width: ImageNetResNet(width=width),
    ),
    Builtin(
        name="resnet50",
        title="ResNet-50",
        shape=(3, 224, 224),
        make=lambda width: ImageNetResNet((3, 4, 6, 3), bottleneck=True, width=width),
    ),
    Builtin(name="mobilenet_v1", title="MobileNet-v1", shape=(3, 224, 224), make=MobileNetV1),
    Builtin(
        name="mobilenet_v1_025",
        title="MobileNet-v1 0.25 (MLPerf Tiny)",
        shape=(3, 96, 96),
        make=lambda width: MobileNetV1(0.25 * width, classes=2),
    ),
    Builtin(name="mobilenet_v2", title="MobileNet-v2", shape=(3, 224, 224), make=MobileNetV2),
    Builtin(
        name="efficientnet_lite0",
        title="EfficientNet-Lite0",
        shape=(3, 224, 224),
        make=EfficientNetLite0,
        trained=trained,
    ),
    Builtin(name="ds_cnn", title="DS-CNN (MLPerf Tiny)", shape=(1, 49, 10), make=DSCNN),
    Builtin(
        name="autoencoder",
        title="FC autoencoder (MLPerf Tiny)",
        shape=(640, 1, 1),
        make=Autoencoder,
    ),
    Builtin(name="unet", title="U-Net (small)", shape=(3, 128, 128), make=UNet),
)

NETWORKS: Final = {network.name: network for network in _ALL}
"""The networks by name."""


def find(name: str) -> Builtin:
    """Return the network called ``name``; ``CelosiaError`` lists the names otherwise."""
    if name not in NETWORKS:
        raise CelosiaError(f"no network is called {name!r}: known are {', '.join(NETWORKS)}")
    return NETWORKS[name]


@functools.cache
def build(
    name: str,
    *,
    width: float = 1.0,
    shape: Shape | None = None,
    seed: int = 0,
    recipe: Recipe = QUICK,
) -> Network:
    """Return the network called ``name`` as an integer network. Takes seconds.

    Where it has trained weights it is calibrated on crops of photos; elsewhere weights and the
    inputs of its calibration are random, as they are where it is not as published.

    Parameters
    ----------
    name
        One of :data:`NETWORKS`.
    width
        Share of the published channels, for tests.
    shape
        (C, H, W) of the input where it is not to be the published one.
    seed
        Of the weights.
    recipe
        How it is quantised.

    Raises
    ------
    CelosiaError
        If there is no such network, its weights or photos are missing, or the recipe does not fit.
    """
    graph, data = read(name, width=width, shape=shape, seed=seed)
    return quantize(graph, data, recipe)


def read(
    name: str, *, width: float = 1.0, shape: Shape | None = None, seed: int = 0
) -> tuple[FloatGraph, np.ndarray]:
    """Return what :func:`build` quantises, and what it calibrates on, float32 (N, C, H, W)."""
    network = find(name)
    known = network.trained is not None and width == 1.0 and shape in (None, network.shape)
    with torch.random.fork_rng(), single_thread():
        torch.manual_seed(seed)
        example = torch.randn(1, *(shape or network.shape))
        if known and network.trained is not None:
            model, data = network.trained(), calibration()
        else:
            inputs = torch.randn(_INPUTS, *example.shape[1:])
            model, data = _settled(network.make(width), inputs), inputs.numpy()
        exported = export_model(model, (example,))
        return import_program(exported, network.name, trained=known), data


def _settled(model: nn.Module, inputs: torch.Tensor) -> nn.Module:
    """Return ``model`` with the batch statistics of ``inputs``, as training would leave it.

    With those of a new network (mean 0, variance 1) activations shrink from layer to layer until
    only biases are left, and an output that does not depend on the input hides every mistake.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches seen, not a moving one
    with torch.no_grad():
        model.train()(inputs)
    return model.eval()
