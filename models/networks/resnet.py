"""Residual networks: He et al., "Deep Residual Learning for Image Recognition" (2016)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from celosia.models.networks.layers import scaled, unit


class _Residual(nn.Module):
    """Convolutions round which the input passes, by a 1x1 convolution where its shape changes."""

    def __init__(self, body: Sequence[nn.Module], inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = unit(inputs, outputs, 1, stride=stride, activation=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def _basic(inputs: int, outputs: int, stride: int) -> _Residual:
    """Return a block of two 3x3 convolutions."""
    body = (
        unit(inputs, outputs, 3, stride=stride),
        unit(outputs, outputs, 3, activation=None),
    )
    return _Residual(body, inputs, outputs, stride)


def _bottleneck(inputs: int, inner: int, stride: int) -> _Residual:
    """Return a block of a 1x1, a 3x3 and a 1x1 convolution, the last with 4 times the channels.

    The 3x3 one has the stride, as in all released models (it was the first 1x1 in the paper).
    """
    outputs = 4 * inner
    body = (
        unit(inputs, inner, 1),
        unit(inner, inner, 3, stride=stride),
        unit(inner, outputs, 1, activation=None),
    )
    return _Residual(body, inputs, outputs, stride)


class _ResNet(nn.Module):
    """A stem, stages of blocks, global average pooling and a linear layer."""

    def __init__(self, stem: nn.Module, blocks: Sequence[nn.Module], last: int, classes: int):
        super().__init__()
        self.stem, self.blocks = stem, nn.Sequential(*blocks)
        self.pool, self.classes = nn.AdaptiveAvgPool2d(1), nn.Linear(last, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.classes(self.pool(self.blocks(self.stem(x))).flatten(1))
        return scores


class CifarResNet(_ResNet):
    """The networks of section 4.2 for 32x32 images: ``blocks`` blocks in each of three stages.

    (N, 3, H, W) images to (N, ``classes``) scores. 3 blocks are ResNet-20. Where a stage begins the
    input passes by a 1x1 convolution (the paper's option B). One block in each, so, is also
    MLPerf Tiny's image classifier, ResNet-8 (Banbury et al., 2021). ``width`` is a share of the
    published channels.
    """

    def __init__(self, blocks: int = 3, width: float = 1.0, classes: int = 10) -> None:
        channels = [scaled(count, width) for count in (16, 32, 64)]
        inputs, stages = channels[0], []
        for number, outputs in enumerate(channels):
            for index in range(blocks):
                stride = 2 if number and not index else 1
                stages.append(_basic(inputs, outputs, stride))
                inputs = outputs
        super().__init__(unit(3, channels[0], 3), stages, inputs, classes)


class ImageNetResNet(_ResNet):
    """The networks of table 1: ``counts`` blocks in the four stages, plain or ``bottleneck`` ones.

    (N, 3, H, W) images to (N, ``classes``) scores; H and W are multiples of 32, 224 in the paper.
    (2, 2, 2, 2) plain blocks are ResNet-18, (3, 4, 6, 3) bottlenecks ResNet-50. ``width`` is a
    share of the published channels.
    """

    def __init__(
        self,
        counts: tuple[int, int, int, int] = (2, 2, 2, 2),
        *,
        bottleneck: bool = False,
        width: float = 1.0,
        classes: int = 1000,
    ) -> None:
        first = scaled(64, width)
        stem = nn.Sequential(
            nn.Conv2d(3, first, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        make, growth = (_bottleneck, 4) if bottleneck else (_basic, 1)
        inputs, blocks = first, []
        for stage, count in enumerate(counts):
            channels = first << stage
            for index in range(count):
                blocks.append(make(inputs, channels, 2 if stage and not index else 1))
                inputs = growth * channels
        super().__init__(stem, blocks, inputs, classes)
