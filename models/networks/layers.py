"""What the families of networks have in common."""

from __future__ import annotations

from torch import nn


def scaled(channels: int, width: float) -> int:
    """Return ``channels`` times ``width``, rounded, at least 1."""
    return max(1, round(channels * width))


def unit(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Return a convolution with batch normalisation and ``activation``.

    Its output has the size of its input, divided by ``stride`` and rounded up.
    """
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )
    behind = [] if activation is None else [activation()]
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *behind)
