"""Sums of distances (AdderNet, CVPR 2020) by windows, in torch: of real numbers and of integers."""

from __future__ import annotations

import itertools
import math

import torch

from celosia.models.network import Window

SPREAD = 1 << 22
"""Most activations that are spread out at once, to bound memory."""


def sum_distances(
    padded: torch.Tensor, weight: torch.Tensor, window: Window, groups: int
) -> torch.Tensor:
    """Return ``-sum |x - w|`` of every window, row by row of the output.

    Distances are added one by one: sums of integers are exact below ``2**53`` in float64.

    Parameters
    ----------
    padded
        Input with its padding, (N, C, H, W).
    weight
        O I FY FX, of the input's type.
    window
        Its padding is not applied.
    groups
        As in a convolution.

    Returns
    -------
    (N, O, OH, OW), of the input's type.
    """
    windows = padded
    for axis in range(2):
        windows = windows.unfold(2 + axis, window.extent[axis], window.stride[axis])
    dy, dx = window.dilation
    windows = windows[..., ::dy, ::dx]
    height, width = windows.shape[2:4]
    outputs, inputs = weight.shape[:2]
    per_group = outputs // groups
    taps = weight.reshape(groups, per_group, -1)
    result = padded.new_empty((len(padded), outputs, height, width))
    rows = max(1, SPREAD // (padded.shape[1] * width * math.prod(window.kernel)))
    for sample, first in itertools.product(range(len(padded)), range(0, height, rows)):
        part = windows[sample, :, first : first + rows]
        for group in range(groups):
            some = part[group * inputs : (group + 1) * inputs]
            points = some.permute(1, 2, 0, 3, 4).reshape(-1, taps.shape[2])
            sums = torch.cdist(taps[group], points, p=1.0).reshape(per_group, -1, width)
            channels = slice(group * per_group, (group + 1) * per_group)
            result[sample, channels, first : first + rows] = -sums
    return result
