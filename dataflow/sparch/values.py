"""The values of matrices in the formats of a SpArch engine, and back.

In between, factors and sums are *numbers*: int64 arrays of codes for integers and fixed-point
numbers, float32 arrays for floats.
"""

from __future__ import annotations

import numpy as np

from celosia.dataflow.sparch.accelerator import Elements, ValueKind
from celosia.models.csr import Csr
from celosia.models.errors import CelosiaError

CANONICAL_NAN = np.uint32(0x7FC00000)
"""The bits of every NaN that an engine makes."""


def to_numbers(matrix: Csr, elements: Elements, what: str) -> Csr:
    """Return ``matrix`` in the factors of ``elements``, without zeros.

    Integers must be whole and in range. Fixed-point numbers are rounded to the nearest code, floats
    to the nearest value (ties to even); floats may be infinite or NaN.

    Raises
    ------
    CelosiaError
        A value has no code: names ``what``, the row, the column and the value.
    """
    values = matrix.values
    if elements.kind.floating:
        with np.errstate(over="ignore"):
            numbers = values.astype(np.float32)
        if elements.kind is ValueKind.BFLOAT16:
            numbers = _to_bfloat16(numbers)
        return matrix.with_values(numbers).without_zeros()
    _refuse(~np.isfinite(values), matrix, what, f"which {elements.kind.value} values cannot be")
    if elements.kind is ValueKind.FIXED:
        scaled = np.rint(values.astype(np.float64) * 2.0**elements.fraction)
    else:
        scaled = values
        _refuse(values != np.rint(values), matrix, what, "which is no integer")
    low, high = -(1 << elements.bits - 1), (1 << elements.bits - 1) - 1
    _refuse(
        (scaled < low) | (scaled > high), matrix, what,
        f"which does not fit {elements.bits} bits ({low * 2.0**-elements.fraction:g}.."
        f"{high * 2.0**-elements.fraction:g})",
    )  # fmt: skip
    return matrix.with_values(scaled.astype(np.int64)).without_zeros()


def to_values(sums: np.ndarray, elements: Elements) -> np.ndarray:
    """Return what ``sums``, numbers, stand for: int64, float64 (fixed point) or float32.

    Fixed-point sums are exact as float64 up to 53 significant bits.
    """
    if elements.kind is ValueKind.FIXED:
        return sums * 2.0 ** (-2 * elements.fraction)
    return sums


def to_codes(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Return the fields, uint64, of ``numbers`` in ``bits`` bits; floats of 16 bits are cut."""
    if numbers.dtype == np.float32:
        return (numbers.view(np.uint32) >> np.uint32(32 - bits)).astype(np.uint64)
    mask = np.uint64((1 << bits) - 1)
    return numbers.astype(np.int64).view(np.uint64) & mask


def from_codes(codes: np.ndarray, bits: int, kind: ValueKind) -> np.ndarray:
    """Return the numbers of fields, uint64, of ``bits`` bits."""
    if kind.floating:
        return (codes.astype(np.uint32) << np.uint32(32 - bits)).view(np.float32)
    shift = np.uint64(64 - bits)
    return (codes << shift).view(np.int64) >> shift.astype(np.int64)


def check_sums(left: Csr, right: Csr, elements: Elements) -> None:
    """Refuse a product of which a sum might not fit the accumulator.

    Raises :class:`CelosiaError` naming the row, and the bits that would do.
    """
    if elements.kind.floating or not left.nonzeros or not right.nonzeros:
        return
    widest = np.zeros(right.shape[0], np.float64)
    np.maximum.at(widest, right.rows, np.abs(right.values.astype(np.float64)))
    terms = np.abs(left.values.astype(np.float64)) * widest[left.columns]
    sums = np.bincount(left.rows, weights=terms, minlength=left.shape[0])
    # float64 is off by less than 1 part in 2**20 here, and the bound is not sharp anyway
    most = float(sums.max()) * (1 + 2.0**-20)
    if most >= 2.0 ** (elements.accumulator - 1):
        row, bits = int(sums.argmax()), int(np.ceil(np.log2(most))) + 1
        raise CelosiaError(
            f"sums of row {row} may need {bits} bits and the accumulator has "
            f"{elements.accumulator}: take an engine with a wider one, or scale the values down"
        )


def _to_bfloat16(numbers: np.ndarray) -> np.ndarray:
    """Return float32 ``numbers`` rounded to their upper 16 bits, ties to even."""
    bits = numbers.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    rounded &= np.uint32(0xFFFF0000)
    return np.where(np.isnan(numbers), CANONICAL_NAN, rounded).astype(np.uint32).view(np.float32)


def _refuse(wrong: np.ndarray, matrix: Csr, what: str, why: str) -> None:
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise CelosiaError(
            f"{what} holds {matrix.values[at]} in row {matrix.row_of(at)}, column "
            f"{matrix.columns[at]}, {why}"
        )
