"""ResNet-18 at the size that ImageNet's images have, with random weights: for cycles only.

Its trained weights are no part of any package, so weights are drawn at random, the same each
time. Shapes, strides, padding and residual additions are those of the published network, and
with them cycles, accesses and energy; what it computes means nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import nn

from celosia.models.archive import export_model
from celosia.models.find_scales import ScaleMethod
from celosia.models.importer import import_program
from celosia.models.mobilenet import MobileNetV2
from celosia.models.network import Network
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe
from celosia.models.threads import single_thread


class _Block(nn.Module):
    """Two 3x3 convolutions round which the input passes, by a 1x1 convolution if it changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            point = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(point, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18: He et al., "Deep Residual Learning for Image Recognition" (2016), table 1.

    (N, 3, H, W) images to (N, ``classes``) scores; H and W are multiples of 32, 224 in the paper.
    ``width`` is the channels of the first stage, 64 in the paper.
    """

    def __init__(self, width: int = 64, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        stages: list[nn.Module] = []
        inputs = width
        for outputs, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
            stages += [_Block(inputs, outputs, stride), _Block(outputs, outputs, 1)]
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.pool, self.classes = nn.AdaptiveAvgPool2d(1), nn.Linear(8 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.classes(self.pool(self.stages(self.stem(x))).flatten(1))
        return scores


QUICK = Recipe(scale=ScaleMethod.MAX, activation_scale=ScaleMethod.MAX, error_feedback=False)
"""60 % of each layer's rows SP2-4 and 40 % fixed-4, activations of 8 bits, found in seconds."""


@functools.cache
def resnet18(size: int = 224, *, width: int = 64, seed: int = 0, recipe: Recipe = QUICK) -> Network:
    """Return ResNet-18 for ``size`` x ``size`` images as an integer network of random weights.

    For cycles only: one random image is all of its calibration. Takes seconds.
    """
    return _random(lambda: ResNet18(width), "resnet18", size, seed, recipe)


@functools.cache
def mobilenet_v2(
    size: int = 224, *, width: int = 8, seed: int = 0, recipe: Recipe = QUICK
) -> Network:
    """Return MobileNet-v2 for ``size`` x ``size`` images, as :func:`resnet18` does ResNet-18."""
    return _random(lambda: MobileNetV2(width), "mobilenet_v2", size, seed, recipe)


def _random(
    make: Callable[[], nn.Module], name: str, size: int, seed: int, recipe: Recipe
) -> Network:
    with torch.random.fork_rng(), single_thread():
        torch.manual_seed(seed)
        image = torch.randn(1, 3, size, size)
        graph = import_program(export_model(make().eval(), (image,)), name)
        return quantize(graph, image.numpy(), recipe)
