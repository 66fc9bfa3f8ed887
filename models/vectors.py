"""Vectors that share a scale: how wide values become elements and scales. Imports numpy only.

This is the integer half of VS-Quant's post-processing unit ("VS-Quant", MLSys 2021, section 5), for
the elements and scales of OCP's microscaling formats (MX 1.0, section 6.3) and NVFP4 too.
A layer's requantised sums are *wide* integers; a vector of them becomes one scale, found from its
largest magnitude, and elements, each value divided by the scale and rounded.
"""

from __future__ import annotations

import numpy as np

from celosia.models.formats import E8M0, UE4M3, BlockScaling, Element, Esb, IntScale


def vector_limit(element: Element, scaling: BlockScaling) -> int:
    """Return the largest magnitude that an element times its scale can have."""
    return element.high * scaling.scale.top


def spread_scales(codes: np.ndarray, scaling: BlockScaling, channels: int) -> np.ndarray:
    """Return the scale of each element, int64 (N, C, ...), from its vector's code (N, B, ...)."""
    values = scaling.scale.decode(codes)
    return np.repeat(values, scaling.vector, axis=1)[:, :channels]


def quantise_vectors(
    values: np.ndarray, element: Element, scaling: BlockScaling
) -> tuple[np.ndarray, np.ndarray]:
    """Return the elements and the codes of the scales of wide ``values``.

    An element is ``value / scale`` rounded to the nearest, halves to the even code; what lies
    beyond the largest element becomes that. Scales are as :func:`scale_codes` says.

    Parameters
    ----------
    values
        int64, channels on axis 1, magnitudes up to :func:`vector_limit`.
    element
        Format of the elements; where fixed point is signed its lowest value is not used.
    scaling
        Format of the scales, for vectors of consecutive channels.

    Returns
    -------
    Elements, int64 of the shape of ``values``, and codes, int64, one for each vector.

    Raises
    ------
    ValueError
        If the scales are of a kind that no unit makes.
    """
    samples, channels, *rest = values.shape
    blocks = -(-channels // scaling.vector)
    padded = np.zeros((samples, blocks * scaling.vector, *rest), np.int64)
    padded[:, :channels] = values
    grouped = padded.reshape(samples, blocks, scaling.vector, *rest)
    magnitude = np.abs(grouped)
    codes = scale_codes(magnitude.max(axis=2), element.high, scaling)
    scales = scaling.scale.decode(codes)[:, :, None]
    elements = np.sign(grouped) * _rounded(magnitude, np.maximum(scales, 1), element)
    return elements.reshape(padded.shape)[:, :channels], codes


def _rounded(magnitude: np.ndarray, scales: np.ndarray, element: Element) -> np.ndarray:
    """Return the magnitudes of the elements nearest to ``magnitude / scales``."""
    halves = 2 * magnitude // scales
    inexact = halves * scales != 2 * magnitude
    linear = element.linear if isinstance(element, Esb) else element.bits
    binade = np.maximum(_digits(halves >> 1) - 1 - linear, 0)
    # A binade has 2**linear codes, so what is rounded up to the next one has the right code.
    floor = halves >> binade + 1
    rest, half = halves - (floor << binade + 1), np.int64(1) << binade
    codes = (binade << linear) + floor
    codes = codes + ((rest > half) | ((rest == half) & (inexact | (codes % 2 == 1))))
    table = np.unique(np.abs(element.values))
    return np.asarray(table[np.minimum(codes, np.searchsorted(table, element.high))])


def _digits(values: np.ndarray) -> np.ndarray:
    """Return how many binary digits each of ``values``, 0 to ``2**53``, has."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def scale_codes(most: np.ndarray, high: int, scaling: BlockScaling) -> np.ndarray:
    """Return the scale codes of vectors whose largest magnitudes are ``most`` (any shape).

    Integers: the smallest with which no element saturates, ``ceil(most / high)`` (VS-Quant). Powers
    of two: the exponent is the difference of the binary digits of ``most`` and of ``high``, at
    least 0 (MX, where the top elements may saturate). Floats: ``most / high`` rounded to the
    nearest, halves to even codes, and to the smallest above 0 at least (NVFP4, where they may too).

    ``high`` is the largest element. Raises ``ValueError`` for scales that no unit makes.
    """
    match scaling.scale:
        case IntScale():
            return np.asarray(-(-most // high), dtype=np.int64)
        case E8M0():
            top = len(scaling.scale.values) - 1
            return np.asarray(np.clip(_digits(most) - high.bit_length(), 0, top), dtype=np.int64)
        case UE4M3():
            binade = np.maximum(_digits(most // high) - 4, 0)
            step = high << binade
            floor, rest = np.divmod(most, step)
            up = (2 * rest > step) | ((2 * rest == step) & (floor % 2 == 1))
            top = int(scaling.scale.encode(np.array(scaling.scale.top)))
            return np.asarray(np.clip(8 * binade + floor + up, 1, top), dtype=np.int64)
    raise ValueError(f"no unit makes scales of {scaling.scale.name} for activations")
