"""A small U-Net: Ronneberger et al., "U-Net" (2015), figure 1, padded and with fewer channels."""

from __future__ import annotations

import itertools
from typing import Final

import torch
from torch import nn

from celosia.models.networks.layers import scaled, unit

_CHANNELS: Final = (32, 64, 128, 256)


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(unit(inputs, outputs, 3), unit(outputs, outputs, 3))


def _up(mode: str, inputs: int, outputs: int) -> nn.Module:
    """Return what doubles height and width: a transposed convolution or a resize by ``mode``."""
    if mode == "transposed":
        up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False)
        return nn.Sequential(up, nn.BatchNorm2d(outputs), nn.ReLU())
    return nn.Sequential(unit(inputs, outputs, 1), nn.Upsample(scale_factor=2, mode=mode))


class UNet(nn.Module):
    """Segmentation: (N, 3, H, W) images, H and W multiples of 8, to (N, ``classes``, H, W) scores.

    Three levels down by maxima and up again, joined with what came down, by each means that there
    is: a transposed convolution, a bilinear resize, a nearest one. ``width`` is a share of the
    channels.
    """

    def __init__(self, width: float = 1.0, classes: int = 2) -> None:
        super().__init__()
        channels = [scaled(count, width) for count in _CHANNELS]
        self.down = nn.ModuleList(_pair(a, b) for a, b in itertools.pairwise((3, *channels)))
        self.pool = nn.MaxPool2d(2)
        modes = ("transposed", "bilinear", "nearest")
        steps = list(zip(modes, itertools.pairwise(reversed(channels)), strict=True))
        self.up = nn.ModuleList(_up(mode, a, b) for mode, (a, b) in steps)
        self.mix = nn.ModuleList(_pair(2 * b, b) for _, (_, b) in steps)
        self.classes = nn.Conv2d(channels[0], classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels = []
        for index, stage in enumerate(self.down):
            x = stage(self.pool(x) if index else x)
            levels.append(x)
        for up, mix, level in zip(self.up, self.mix, reversed(levels[:-1]), strict=True):
            x = mix(torch.cat([up(x), level], dim=1))
        scores: torch.Tensor = self.classes(x)
        return scores
