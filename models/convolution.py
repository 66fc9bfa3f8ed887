"""Convolutions of integers, exact, at the speed of floating-point matrix products.

A product of matrices in binary floating point is exact, in any order of its additions and with
fused multiplications or without, where every partial sum is an integer that the type holds: of a
magnitude up to ``2**24`` in float32 and ``2**53`` in float64. No partial sum exceeds the sum of the
magnitudes of all its terms, which is at most the greatest magnitude of an activation times the
sum of those of the weights of a row. Where that bound is too large for float32, input
channels are cut into parts for which it is not, whose sums are added up as int64.

Matrices are multiplied by numpy's BLAS, which has one arithmetic for a type: torch's switches
that allow rounded factors (``set_float32_matmul_precision``) or transformed convolutions do not
reach it. Imports numpy only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import as_strided

from celosia.models.network import Window

SINGLE: np.int64 = np.int64(1 << 24)
"""Integers up to this magnitude are exact in float32, sums of them below it too."""

DOUBLE: np.int64 = np.int64(1 << 53)
"""The same for float64."""

_SPREAD = 1 << 21
"""Most activations that are spread out at once: they should stay in the caches."""


def convolve_integers(
    codes: np.ndarray, weights: np.ndarray, window: Window, groups: int, zero: int = 0
) -> np.ndarray:
    """Return the convolution of ``codes`` with ``weights``, exactly: int64 (N, O, OH, OW).

    Parameters
    ----------
    codes
        int64 (N, C, H, W).
    weights
        int64 O I FY FX, with I = C / groups.
    window
        Kernel, stride, dilation and padding.
    groups
        As in any convolution; a divisor of O and C.
    zero
        What padding holds.

    Raises
    ------
    ValueError
        If the sum of a row's magnitudes, times the greatest activation's, exceeds ``2**53``.
    """
    largest = max(abs(int(codes.min(initial=zero))), abs(int(codes.max(initial=zero))))
    parts = _parts(weights, largest)
    kind = np.float64 if parts is None else np.float32
    spans = [(0, weights.shape[1])] if parts is None else parts
    top, left, bottom, right = window.padding
    height, width = window.output_size(*codes.shape[2:])
    rows, terms = len(weights), weights[0].size
    by_group = weights.reshape(groups, rows // groups, -1).astype(kind)
    total = np.zeros((len(codes), groups, rows // groups, height * width), np.int64)
    each = weights[0, 0].size
    for sample, made in zip(codes, total, strict=True):
        around = ((0, 0), (top, bottom), (left, right))
        padded = np.pad(sample.astype(kind), around, constant_values=zero)
        view = _windows(padded, window, height, width)
        for lines in _blocks(height, groups * terms * width):
            spread = np.ascontiguousarray(view[:, :, :, lines])
            columns = spread.reshape(groups, terms, -1)
            where = slice(lines.start * width, lines.stop * width)
            for first, stop in spans:
                some = slice(first * each, stop * each)
                sums = by_group[:, :, some] @ columns[:, some]
                made[:, :, where] += sums.astype(np.int64)
    return total.reshape(len(codes), rows, height, width)


def _parts(weights: np.ndarray, largest: int) -> list[tuple[int, int]] | None:
    """Return ranges of input channels whose sums float32 holds exactly, or None if one has not.

    Raises ``ValueError`` where not even float64 holds the sum of all.
    """
    magnitudes = np.abs(weights)
    whole = magnitudes.reshape(len(weights), -1).sum(axis=1, dtype=np.float64).max() * largest
    if whole > float(DOUBLE):  # a rounded sum above it belongs to a sum above it
        raise ValueError("the sum of a row's magnitudes must be at most 2**53")
    if whole <= float(SINGLE):
        return [(0, weights.shape[1])]
    sizes = magnitudes.sum(axis=(2, 3), dtype=np.float64) * largest  # O, I
    if sizes.max(initial=0) > SINGLE:
        return None
    before = np.concatenate([np.zeros((len(sizes), 1)), np.cumsum(sizes, axis=1)], axis=1)
    parts, first = [], 0
    while first < sizes.shape[1]:
        reach = (before - before[:, first : first + 1]).max(axis=0)
        stop = int(np.searchsorted(reach[first:], float(SINGLE), side="right")) + first - 1
        parts.append((first, stop))
        first = stop
    return parts


def _windows(padded: np.ndarray, window: Window, height: int, width: int) -> np.ndarray:
    """Return the view (C, FY, FX, OH, OW) of what each place of the kernel meets."""
    channel, line, place = padded.strides
    (kernel_y, kernel_x), (dy, dx), (sy, sx) = window.kernel, window.dilation, window.stride
    return as_strided(
        padded,
        (len(padded), kernel_y, kernel_x, height, width),
        (channel, dy * line, dx * place, sy * line, sx * place),
        writeable=False,
    )


def _blocks(height: int, each: int) -> Iterator[slice]:
    """Yield ranges of output lines, as many as may be spread out at once; a line has ``each``."""
    step = max(1, _SPREAD // each)
    for first in range(0, height, step):
        yield slice(first, min(height, first + step))
