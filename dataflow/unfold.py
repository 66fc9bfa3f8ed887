"""Inputs of few channels: neighbouring pixels in the lanes that would stay idle.

One step of the array then reduces several positions of the kernel. Along an axis of which all
positions lie in a word, words need be only where outputs are: the stride and the padding are the
layout's, and the convolution has neither. How many positions a word holds is a matter of what the
array and the memory port are busy for: all 49 of a 7x7 kernel with 3 channels take 5 words of 32
lanes where one row of the kernel each takes 7, but every word is then read for one output alone.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.layout import Unfold
from celosia.models.network import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfolding:
    """What one convolution reads: ``channels`` of ``size`` pixels, by a ``window``.

    ``sums`` are the rows and columns of accumulators that it makes, ``rows`` its output channels.
    """

    channels: int
    size: tuple[int, int]
    window: Window
    sums: tuple[int, int]
    rows: int

    def layout(self, copies: tuple[int, int]) -> Unfold:
        """Return the layout with so many ``copies`` of the pixels in each word."""
        window = self.window
        axes = [self._axis(axis, copies[axis]) for axis in (0, 1)]
        stride, origin, grid = ((axes[0][part], axes[1][part]) for part in range(3))
        return Unfold(copies=copies, step=window.dilation, stride=stride, origin=origin, grid=grid)

    def _axis(self, axis: int, copies: int) -> tuple[int, int, int]:
        """Return stride, origin and rows of the grid along ``axis``."""
        if self._steps_out(axis, copies):
            return self.window.stride[axis], -self.window.padding[axis], self.sums[axis]
        return 1, 0, self.size[axis]

    def _steps_out(self, axis: int, copies: int) -> bool:
        """Return whether there are words only where there are outputs along ``axis``.

        The input is read back from memory too, so every pixel must be in some word.
        """
        window = self.window
        if copies < window.kernel[axis]:
            return False
        first = np.arange(self.sums[axis])[:, None] * window.stride[axis] - window.padding[axis]
        pixels = np.unique(first + np.arange(copies) * window.dilation[axis])
        held = np.count_nonzero((pixels >= 0) & (pixels < self.size[axis]))
        return bool(held == self.size[axis])

    def best(self, accelerator: Accelerator) -> Unfold | None:
        """Return the layout for which the busier of array and port has least to do, if any."""
        ky, kx = self.window.kernel
        # As few copies as make the same number of steps along an axis.
        down, across = ({-(-k // -(-k // n)) for n in range(1, k + 1)} for k in (ky, kx))
        counts = sorted(itertools.product(down, across), key=lambda n: (n[0] * n[1], n))
        copies = min(counts, key=lambda n: self._cycles(n, accelerator))
        return self.layout(copies) if copies != (1, 1) else None

    def _cycles(self, copies: tuple[int, int], accelerator: Accelerator) -> tuple[int, int]:
        """Return about how long the busier one is, and both together."""
        array, window = accelerator.array, self.window
        words = -(-self.channels * copies[0] * copies[1] // array.lanes)
        tiles = -(-self.rows // array.column_count)
        compute = words * tiles * -(-self.sums[0] // array.pixels) * self.sums[1]
        load = words * accelerator.beats(accelerator.activation_word_bits)
        for axis, (unfold, bands) in enumerate(zip(copies, (array.pixels, 1), strict=True)):
            positions = -(-window.kernel[axis] // unfold)
            compute *= positions
            own = self._steps_out(axis, unfold)
            stride, step = (1, 1) if own else (window.stride[axis], window.dilation[axis] * unfold)
            # Each band of rows has a copy of the input rows that it shares with the next.
            sums = -(-self.sums[axis] // bands)
            load *= bands * ((sums - 1) * stride + (positions - 1) * step + 1)
        return max(compute, load), compute + load

    def reader(self, unfold: Unfold) -> Window:
        """Return the window of the convolution over the unfolded input."""
        window, padding = self.window, list(self.window.padding)
        kernel, stride, dilation = ([0, 0] for _ in range(3))
        for axis in (0, 1):
            copies = unfold.copies[axis]
            kernel[axis] = -(-window.kernel[axis] // copies)
            stride[axis] = window.stride[axis]
            dilation[axis] = window.dilation[axis] * copies
            if self._steps_out(axis, copies):
                stride[axis], dilation[axis] = 1, 1
                padding[axis] = padding[axis + 2] = 0
        return replace(
            window,
            kernel=(kernel[0], kernel[1]),
            stride=(stride[0], stride[1]),
            dilation=(dilation[0], dilation[1]),
            padding=(padding[0], padding[1], padding[2], padding[3]),
        )


def unfolded_weights(weights: np.ndarray, unfold: Unfold) -> np.ndarray:
    """Return ``weights`` with kernel positions as channels, int64; missing ones have 0."""
    ny, nx = unfold.copies
    rows, channels, ky, kx = weights.shape
    oy, ox = -(-ky // ny), -(-kx // nx)
    padded = np.zeros((rows, channels, oy * ny, ox * nx), np.int64)
    padded[:, :, :ky, :kx] = weights
    split = padded.reshape(rows, channels, oy, ny, ox, nx).transpose(0, 3, 5, 1, 2, 4)
    return np.ascontiguousarray(split.reshape(rows, ny * nx * channels, oy, ox))
