"""Vectors that share a scale: how wide values become elements and scales. Imports numpy only.

This is the integer half of VS-Quant's post-processing unit ("VS-Quant", MLSys 2021, section 5).
A layer's requantised sums are *wide* integers; a vector of them becomes one scale, found from its
largest magnitude, and elements, each value divided by the scale and rounded.
"""

from __future__ import annotations

import numpy as np

from celosia.models.formats import E8M0, BlockScaling, Fixed, IntScale


def vector_limit(element: Fixed, scaling: BlockScaling) -> int:
    """Return the largest magnitude that an element times its scale can have."""
    return element.high * scaling.scale.high


def spread_scales(codes: np.ndarray, scaling: BlockScaling, channels: int) -> np.ndarray:
    """Return the scale of each element, int64 (N, C, ...), from its vector's code (N, B, ...)."""
    values = scaling.scale.decode(codes)
    return np.repeat(values, scaling.vector, axis=1)[:, :channels]


def quantise_vectors(
    values: np.ndarray, element: Fixed, scaling: BlockScaling
) -> tuple[np.ndarray, np.ndarray]:
    """Return the elements and the codes of the scales of wide ``values``.

    A vector's scale is the smallest integer with which no element saturates, ``ceil(m / high)``
    for the largest magnitude m (VS-Quant), or the power of two whose exponent is the difference
    of the binary digits of m and of ``high``, at least 0 (MX, where the top elements may
    saturate). An element is ``value / scale`` rounded to the nearest, halves away from 0.

    Parameters
    ----------
    values
        int64, channels on axis 1, magnitudes up to :func:`vector_limit`.
    element
        Format of the elements; where it is signed its lowest value is not used.
    scaling
        Integer or power-of-two scales, for vectors of consecutive channels.

    Returns
    -------
    Elements, int64 of the shape of ``values``, and codes, int64, one for each vector.

    Raises
    ------
    ValueError
        If the scales are of another kind.
    """
    samples, channels, *rest = values.shape
    blocks = -(-channels // scaling.vector)
    padded = np.zeros((samples, blocks * scaling.vector, *rest), np.int64)
    padded[:, :channels] = values
    grouped = padded.reshape(samples, blocks, scaling.vector, *rest)
    magnitude = np.abs(grouped)
    codes = scale_codes(magnitude.max(axis=2), element.high, scaling)
    scales = scaling.scale.decode(codes)[:, :, None]
    rounded = (2 * magnitude + scales) // np.maximum(2 * scales, 1)
    elements = np.sign(grouped) * np.minimum(rounded, element.high)
    return elements.reshape(padded.shape)[:, :channels], codes


def scale_codes(most: np.ndarray, high: int, scaling: BlockScaling) -> np.ndarray:
    """Return the scale codes of vectors whose largest magnitudes are ``most`` (any shape).

    ``high`` is the largest element. Raises ``ValueError`` for scales that no unit makes.
    """
    match scaling.scale:
        case IntScale():
            return np.asarray(-(-most // high), dtype=np.int64)
        case E8M0():
            exponent = np.frexp(most.astype(np.float64))[1] - high.bit_length()
            top = len(scaling.scale.values) - 1
            return np.asarray(np.clip(exponent, 0, top), dtype=np.int64)
    raise ValueError(
        f"activations have integer or power-of-two scales, not {scaling.scale.name}: only their "
        "vectors are made by integer arithmetic"
    )
