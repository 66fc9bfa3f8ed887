"""Block quantisers: elements that share a scale with their neighbours along the reduction.

One procedure for VS-Quant (MLSys 2021), OCP's microscaling formats (MX 1.0, section
6.3) and NVFP4: they differ in the formats of element and scale alone. It computes in float64,
divides once for each element, and rounds halves to even codes, so it gives the same integers on
every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celosia.models.errors import CelosiaError
from celosia.models.find_scales import check_values, nearest
from celosia.models.formats import E8M0, BlockScaling, Esb, Fixed, Format, ScaleFormat

E8M0_LOWEST = -127
"""Lowest exponent of a scale in OCP's formats."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """Rows of elements with a scale for each vector.

    Attributes
    ----------
    element, scaling
        The formats.
    values
        Values of the elements, int64 (O, K).
    scales
        Values of the scales, int64 (O, ceil(K / vector)).
    unit
        For each row the real number that element 1 times scale 1 stands for, float64 (O,).
    """

    element: Format
    scaling: BlockScaling
    values: np.ndarray
    scales: np.ndarray
    unit: np.ndarray

    def __post_init__(self) -> None:
        rows, reduction = self.values.shape
        wanted = (rows, vectors(reduction, self.scaling.vector))
        if self.scales.shape != wanted:
            raise ValueError(f"scales must have the shape {wanted}, not {self.scales.shape}")
        check_unit(self.unit, rows)
        for field, fmt in (("values", self.element), ("scales", self.scaling.scale)):
            wrong = ~np.isin(getattr(self, field), fmt.values)
            if wrong.any():
                value = int(getattr(self, field)[wrong][0])
                raise ValueError(f"{field} must be in {fmt.name}, which {value} is not")

    @property
    def factors(self) -> np.ndarray:
        """The scale of each element's vector, int64 (O, K)."""
        return spread(self.scales, self.scaling.vector, self.values.shape[1])

    @property
    def integers(self) -> np.ndarray:
        """Each element times its vector's scale, int64 (O, K)."""
        return np.asarray(self.values * self.factors)

    @property
    def real(self) -> np.ndarray:
        """The real numbers that the rows stand for, float64 (O, K)."""
        return np.asarray(self.integers * self.unit[:, None])

    @property
    def bits(self) -> float:
        """Bits of an element with its share of the scale, in whole vectors."""
        return self.element.bits + self.scaling.scale.bits / self.scaling.vector


def vectors(reduction: int, vector: int) -> int:
    """Return how many vectors ``reduction`` elements are; the last may be short."""
    return -(-reduction // vector)


def spread(scales: np.ndarray, vector: int, reduction: int) -> np.ndarray:
    """Return ``scales`` (O, vectors) for each element, (O, ``reduction``)."""
    return np.repeat(scales, vector, axis=1)[:, :reduction]


def check_unit(unit: np.ndarray, rows: int) -> None:
    """Raise ``ValueError`` if ``unit`` holds no positive finite scale for each of ``rows`` rows."""
    if unit.shape != (rows,):
        raise ValueError(f"unit must have the shape ({rows},), not {unit.shape}")
    wrong = ~(np.isfinite(unit) & (unit > 0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"unit of row {row} must be a positive number, not {float(unit[row])!r}: with a "
            "scale of zero nothing can be told apart"
        )


def quantise_blocks(
    rows: np.ndarray,
    element: Format,
    scaling: BlockScaling,
    *,
    unit: np.ndarray | None = None,
    common: bool = False,
    round_up: bool = False,
) -> Blocks:
    """Quantise ``rows``.

    Parameters
    ----------
    rows
        Real values, float64 (O, K), the reduction along the last axis.
    element
        Format of the elements. Fixed point is used symmetrically, -7 to 7 with four bits.
    scaling
        Format of the scales and length of the vectors.
    unit
        The real number that element 1 times scale 1 stands for, (O,), where it is known
        already (a calibrated gamma). By default each row's largest scale is the largest
        of its format; of powers of two the smallest is the row's smallest.
    common
        One unit for all rows (NVFP4's global scale, activations), not one a row.
    round_up
        Round scales to the next above, so that nothing is clipped. As published they are
        rounded to the nearest or, powers of two, down. Take it for elements of 6 bits and more
        with integer scales of 4.

    A vector of zeros, and one too small for any scale, gets the smallest scale that is
    not 0. A row of zeros gets the unit 1.

    Raises
    ------
    CelosiaError
        If a value is not finite, or negative where the elements cannot be.
    ValueError
        If a unit is not a positive number.
    """
    try:
        check_values(rows, element)
    except ValueError as error:
        raise CelosiaError(f"cannot be quantised in vectors: {error}") from error
    largest = _largest(rows, scaling.vector)
    if isinstance(scaling.scale, E8M0):
        wanted, unit = _powers(largest, element, scaling.scale, unit, common, round_up)
    else:
        wanted, unit = _linear(largest, element, scaling.scale, unit, common)
    scales = _to_scales(wanted, scaling.scale, round_up)
    step = spread(scales * unit[:, None], scaling.vector, rows.shape[1])
    limit = _reach(element)
    values = np.clip(nearest(rows / step, element), -limit, limit).astype(np.int64)
    return Blocks(element=element, scaling=scaling, values=values, scales=scales, unit=unit)


def _largest(rows: np.ndarray, vector: int) -> np.ndarray:
    """Return the largest magnitude in each vector, (O, vectors)."""
    count, reduction = rows.shape
    padded = np.zeros((count, vectors(reduction, vector) * vector))
    padded[:, :reduction] = np.abs(rows)
    return np.asarray(padded.reshape(count, -1, vector).max(axis=2))


def _reach(element: Format) -> int:
    return element.high if element.low >= 0 else min(element.high, -element.low)


def _over_rows(values: np.ndarray, common: bool) -> np.ndarray:
    """Return ``values`` (O,), or their largest for every row."""
    return np.full_like(values, values.max()) if common else values


def _linear(
    largest: np.ndarray,
    element: Format,
    scale: ScaleFormat,
    unit: np.ndarray | None,
    common: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact scales in units of the unit, and the unit."""
    top, reach = scale.top, _reach(element)
    if unit is not None:
        check_unit(unit, len(largest))
        return largest / (reach * unit[:, None]), unit
    most = _over_rows(largest.max(axis=1), common)
    most = np.where(most > 0, most, float(top * reach))
    # Multiplied first, so that the largest scale is exactly the format's largest.
    return largest * top / most[:, None], most / (top * reach)


def _powers(
    largest: np.ndarray,
    element: Format,
    scale: E8M0,
    unit: np.ndarray | None,
    common: bool,
    round_up: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return powers of two as :func:`_linear` does."""
    reach = _reach(element)
    if unit is not None:
        check_unit(unit, len(largest))
        exponent = _exponents(largest / unit[:, None], reach, round_up)
        return np.ldexp(1.0, np.clip(exponent, 0, (1 << scale.bits) - 1)), unit
    exponent = np.maximum(_exponents(largest, reach, round_up), E8M0_LOWEST - _fraction(element))
    filled = largest > 0
    highest = np.where(filled, exponent, E8M0_LOWEST - _fraction(element)).max(axis=1)
    lowest = -np.where(filled, -exponent, -highest[:, None]).max(axis=1)
    if common:
        highest, lowest = _over_rows(highest, common), -_over_rows(-lowest, common)
    base = np.maximum(lowest, highest - (1 << scale.bits) + 1)
    code = np.maximum(exponent - base[:, None], 0)
    base = np.where(filled.any(axis=1), base, 0)
    return np.ldexp(1.0, code), np.ldexp(1.0, base)


def _exponents(largest: np.ndarray, reach: int, round_up: bool) -> np.ndarray:
    """Return the exponent of each vector's power of two; of vectors of zeros it says nothing."""
    if round_up:
        mantissa, exponent = np.frexp(largest / reach)
        return np.asarray(exponent - (mantissa == 0.5))
    return np.asarray(np.frexp(largest)[1] - reach.bit_length())


def _fraction(element: Format) -> int:
    """Return how many bits OCP puts behind the point of ``element``'s values."""
    if isinstance(element, Esb):
        return element.linear + (1 << element.exponent_bits - 1) - 2
    return element.bits - 2 if isinstance(element, Fixed) else 0


def _to_scales(wanted: np.ndarray, scale: ScaleFormat, round_up: bool) -> np.ndarray:
    """Return values of ``scale`` for ``wanted``, int64, none of them 0."""
    levels = scale.values[scale.values > 0]
    limited = np.clip(wanted, int(levels[0]), scale.top)
    if round_up:
        return np.asarray(levels[np.searchsorted(levels, limited)])
    return nearest(limited, scale).astype(np.int64)
