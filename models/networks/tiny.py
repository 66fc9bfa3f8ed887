"""MLPerf Tiny's keyword spotter and anomaly detector: Banbury et al. (2021), section 4.

The two others of the benchmark are :class:`~celosia.models.networks.resnet.CifarResNet` with one
block a stage and :class:`~celosia.models.networks.mobilenet.MobileNetV1` with a quarter of the
channels.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn

from celosia.models.networks.layers import scaled, unit


class DSCNN(nn.Module):
    """The keyword spotter: (N, 1, 49, 10) spectra (time, coefficient) to (N, 12) scores.

    A 10x4 convolution of stride 2 and four pairs of depthwise and 1x1 convolutions. ``width`` is a
    share of the 64 channels.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        channels = scaled(64, width)
        pairs: list[nn.Module] = []
        for _ in range(4):
            pairs += [
                unit(channels, channels, 3, groups=channels),
                unit(channels, channels, 1),
            ]
        self.stem = nn.Sequential(
            nn.ZeroPad2d((1, 1, 4, 5)),  # 25 x 5 outputs
            nn.Conv2d(1, channels, (10, 4), stride=2, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.pairs = nn.Sequential(*pairs)
        self.pool, self.classes = nn.AdaptiveAvgPool2d(1), nn.Linear(channels, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.classes(self.pool(self.pairs(self.stem(x))).flatten(1))
        return scores


class Autoencoder(nn.Module):
    """The anomaly detector: (N, 640, 1, 1), five frames of 128 bands, to what it makes of them.

    (N, 640); ten linear layers, 8 values in the middle. ``width`` is a share of the 128 values of
    the others.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        inner = scaled(128, width)
        sizes = (640, *(inner,) * 4, 8, *(inner,) * 4)
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(inner, 640))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bands: torch.Tensor = self.layers(x)
        return bands
