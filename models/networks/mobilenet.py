"""MobileNets: depthwise convolutions between 1x1 convolutions."""

from __future__ import annotations

import torch
from torch import nn

from celosia.models.networks.layers import scaled, unit

# Output channels and stride of each pair: table 1 of the first paper.
_PAIRS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
    (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip

# Expansion, output channels, blocks, stride of the first: table 2 of the second.
_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip


class MobileNetV1(nn.Module):
    """Howard et al., "MobileNets: Efficient Convolutional Neural Networks" (2017), table 1.

    (N, 3, H, W) images to (N, ``classes``) scores; H and W are multiples of 32, 224 in the paper.
    ``width`` is the paper's multiplier of channels; 0.25 for 96x96 images is MLPerf Tiny's
    person detector. All but the last have a ReLU6, as in the released models.
    """

    def __init__(self, width: float = 1.0, classes: int = 1000) -> None:
        super().__init__()
        inputs = scaled(32, width)
        layers = [unit(3, inputs, 3, stride=2, activation=nn.ReLU6)]
        for channels, stride in _PAIRS:
            outputs = scaled(channels, width)
            layers += [
                unit(inputs, inputs, 3, stride=stride, groups=inputs, activation=nn.ReLU6),
                unit(inputs, outputs, 1, activation=nn.ReLU6),
            ]
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.pool, self.classes = nn.AdaptiveAvgPool2d(1), nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.classes(self.pool(self.features(x)).flatten(1))
        return scores


class _Inverted(nn.Module):
    """Widen, convolve each channel alone, narrow; the input is added where the shape is its own."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        widen = [] if expansion == 1 else [unit(inputs, inner, 1, activation=nn.ReLU6)]
        self.body = nn.Sequential(
            *widen,
            unit(inner, inner, 3, stride=stride, groups=inner, activation=nn.ReLU6),
            unit(inner, outputs, 1, activation=None),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(x)
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018), table 2.

    (N, 3, H, W) images to (N, ``classes``) scores; H and W are multiples of 32, 224 in the paper.
    ``width`` is a share of the paper's channels.
    """

    def __init__(self, width: float = 1.0, classes: int = 1000) -> None:
        super().__init__()
        inputs = scaled(32, width)
        blocks: list[nn.Module] = [unit(3, inputs, 3, stride=2, activation=nn.ReLU6)]
        for expansion, channels, count, stride in _STAGES:
            outputs = scaled(channels, width)
            for index in range(count):
                blocks.append(_Inverted(inputs, outputs, expansion, 1 if index else stride))
                inputs = outputs
        last = scaled(1280, width)
        self.features = nn.Sequential(*blocks, unit(inputs, last, 1, activation=nn.ReLU6))
        self.pool, self.classes = nn.AdaptiveAvgPool2d(1), nn.Linear(last, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.classes(self.pool(self.features(x)).flatten(1))
        return scores
