"""MobileNet-v2: inverted residual blocks of depthwise convolutions."""

from __future__ import annotations

import torch
from torch import nn

# Expansion, output channels, blocks, stride of the first: table 2 of the paper.
_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """Return a convolution with batch normalisation and ReLU6, its size divided by the stride."""
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class _Inverted(nn.Module):
    """Widen, convolve each channel alone, narrow; the input is added where the shape is its own."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        widen = [] if expansion == 1 else [_unit(inputs, inner, 1)]
        self.body = nn.Sequential(
            *widen,
            _unit(inner, inner, 3, stride, groups=inner),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(x)
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018), table 2.

    (N, 3, H, W) images to (N, ``classes``) scores; H and W are multiples of 32, 224 in the paper.
    Channels are ``width`` eighths of the paper's, which has 8.
    """

    def __init__(self, width: int = 8, classes: int = 1000) -> None:
        super().__init__()
        inputs = 32 * width // 8
        blocks = [_unit(3, inputs, 3, stride=2)]
        for expansion, channels, count, stride in _STAGES:
            outputs = channels * width // 8
            for index in range(count):
                blocks.append(_Inverted(inputs, outputs, expansion, 1 if index else stride))
                inputs = outputs
        last = 1280 * width // 8
        self.features = nn.Sequential(*blocks, _unit(inputs, last, 1))
        self.pool, self.classes = nn.AdaptiveAvgPool2d(1), nn.Linear(last, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.classes(self.pool(self.features(x)).flatten(1))
        return scores
