"""How large an accumulator can grow. Imports numpy only: the compiler uses it."""

from __future__ import annotations

import numpy as np

from celosia.models.formats import BlockScaling, Element
from celosia.models.network import Conv
from celosia.models.operations import MULTIPLY, Operation


def accumulator_range(
    conv: Conv, activation: Element, scaling: BlockScaling | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds of the sum of terms of each output channel.

    Any partial sum, in any order, lies between them too: terms not yet added count as 0, and
    padding as activations of 0, which every fixed format has. Scales are never negative, so each
    vector is at its ends where its scale is greatest.

    Parameters
    ----------
    conv
        The convolution; its bias is not part of the result.
    activation, scaling
        Format of its input, and its scales.

    Returns
    -------
    Two int64 arrays of shape (O,), the first <= 0 <= the second.
    """
    return sum_range(conv.operation, conv.scaled_weights(scaling), activation)


def sum_range(
    operation: Operation, weights: np.ndarray, activation: Element
) -> tuple[np.ndarray, np.ndarray]:
    """Return what :func:`accumulator_range` does, of terms of ``weights`` (int64 ``O ...``)."""
    rows = weights.reshape(len(weights), -1)
    if operation == MULTIPLY:
        # Those of the positive weights' sum, and of the negative ones'.
        least, most = min(activation.low, 0), max(activation.high, 0)
        positive = np.maximum(rows, 0).sum(axis=1)
        negative = rows.sum(axis=1) - positive
        return positive * least + negative * most, positive * most + negative * least
    low, high = operation.term_range(rows, activation)
    return low.sum(axis=1), high.sum(axis=1)


def accumulator_bound(
    conv: Conv, activation: Element, scaling: BlockScaling | None = None
) -> np.ndarray:
    """Return the greatest magnitude of an accumulator, with and without its bias.

    Parameters
    ----------
    conv
        The convolution.
    activation, scaling
        Format of its input, and its scales.

    Returns
    -------
    int64 array of shape (O,): neither a partial sum, nor the sum, nor sum + bias of
    that output channel is larger in magnitude, whatever the input.
    """
    low, high = accumulator_range(conv, activation, scaling)
    bias = conv.requant.bias
    ends = np.stack([low, high, low + bias, high + bias])
    return np.asarray(np.abs(ends).max(axis=0), dtype=np.int64)


def accumulator_bits(conv: Conv, activation: Element, scaling: BlockScaling | None = None) -> int:
    """Return the two's complement width that holds every accumulator of ``conv``."""
    return int(accumulator_bound(conv, activation, scaling).max()).bit_length() + 1


def reduction_bits(extremes: tuple[int, int], terms: int) -> int:
    """Return the two's complement width that holds every partial sum of ``terms`` terms.

    Parameters
    ----------
    extremes
        Least and greatest value of a term, the first <= 0 <= the second.
    terms
        Terms of the longest reduction, at least 1.
    """
    low, high = (terms * end for end in extremes)
    return max((-low - 1).bit_length() if low else 0, high.bit_length()) + 1


def longest_reduction(extremes: tuple[int, int], bits: int) -> int:
    """Return how many terms an accumulator of ``bits`` bits takes before it can overflow.

    Parameters
    ----------
    extremes
        Least and greatest value of a term, the first <= 0 <= the second, not both 0.
    bits
        Width of the accumulator, two's complement.
    """
    low, high = extremes
    ends = [
        ((1 << bits - 1) // -low) if low else None,
        ((1 << bits - 1) - 1) // high if high else None,
    ]
    return min(end for end in ends if end is not None)
