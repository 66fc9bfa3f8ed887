"""Dot products of 16 lanes of every format, as rows of the table of processing elements."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from celosia.models.formats import BlockScaling, Esb, Fixed, Format, IntScale, Pot, Sp2
from celosia.rtl.pe.scaled_unit import ScaledUnit
from celosia.rtl.pe.unit import Lane, LaneShape, SignStyle, Unit
from celosia.scripts.pe_case import PeCase

LANES = 16
ACCUMULATOR_BITS = 24
PROOF = "tests/rtl/test_unit.py::test_lanes"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A processing element and its operands; ``naive`` is the lane of its naive sign style."""

    pe: str
    weights: Format
    activations: Format
    lane: Lane = Lane.PRODUCT
    naive: Lane = Lane.PRODUCT


def _unsigned(bits: int) -> Fixed:
    return Fixed(bits=bits, signed=False)


def _rows() -> Iterator[_Row]:
    """Yield every processing element of the table, with operands of each width."""
    for weight_bits, bits in ((4, 4), (4, 8), (8, 4), (8, 8)):
        yield _Row(
            pe="fixed",
            weights=Fixed(bits=weight_bits),
            activations=_unsigned(bits),
            lane=Lane.ROWS,
        )
    # With one bit of exponent a float is a sign and a magnitude: what tables of lanes take
    # fixed point to be.
    for weight_bits, bits in ((4, 4), (4, 8), (8, 8)):
        sign_magnitude = Esb(bits=weight_bits, linear=weight_bits - 2)
        yield _Row(pe="fixed, sign-magnitude", weights=sign_magnitude, activations=_unsigned(bits))
    for weight_bits, bits in ((4, 4), (4, 8), (8, 8)):
        yield _Row(
            pe="sp2",
            weights=Sp2(bits=weight_bits),
            activations=_unsigned(bits),
            lane=Lane.ROWS,
            naive=Lane.ROWS,
        )
    for weight_bits, bits in ((4, 4), (4, 8), (5, 8)):
        yield _Row(pe="pot", weights=Pot(bits=weight_bits), activations=_unsigned(bits))
    fp4, fp6, fp6_wide = (Esb(bits=b, linear=n) for b, n in ((4, 1), (6, 3), (6, 2)))
    yield _Row(pe="esb4_1", weights=fp4, activations=_unsigned(4))
    for float_format in (fp4, fp6, fp6_wide):
        yield _Row(pe=f"{float_format.name}^2", weights=float_format, activations=float_format)
    for bits in (4, 8):
        both = Fixed(bits=bits)
        yield _Row(
            pe="adder", weights=both, activations=both,
            lane=Lane.DIFFERENCE, naive=Lane.DIFFERENCE,
        )  # fmt: skip


def lane_cases() -> tuple[PeCase, ...]:
    """Return the case of each processing element, sign style, and DSP blocks or none."""
    return tuple(
        PeCase(
            pe=row.pe,
            build=functools.partial(
                unit, row.weights, row.activations, row.lane if carry else row.naive, style
            ),
            lanes=LANES,
            weight_bits=row.weights.bits,
            act_bits=row.activations.bits,
            sign_style=style,
            dsp_allowed=dsp_allowed,
            proof=PROOF,
        )
        for row in _rows()
        for style, carry in ((SignStyle.NAIVE, False), (SignStyle.CARRY, True))
        for dsp_allowed in (False, True)
    )


def vector_cases() -> tuple[PeCase, ...]:
    """Return vector MACs of VS-Quant: bits of the scales, and how many their product keeps."""
    return tuple(
        PeCase(
            pe=f"vsquant s{scale_bits} p{kept}",
            build=functools.partial(vector_unit, weight_bits, bits, scale_bits, kept, dsp_allowed),
            lanes=LANES,
            weight_bits=weight_bits,
            act_bits=bits,
            dsp_allowed=dsp_allowed,
            proof=PROOF,
        )
        for weight_bits, bits, scale_bits, kept in (
            (4, 4, 4, 8), (4, 4, 4, 6), (4, 4, 4, 4), (4, 4, 6, 6), (4, 8, 6, 6), (8, 8, 6, 6),
        )
        for dsp_allowed in (False, True)
    )  # fmt: skip


def vector_unit(
    weight_bits: int, bits: int, scale_bits: int, kept: int, dsp_allowed: bool
) -> ScaledUnit:
    """Return the vector MAC of 16 elements whose scales' product keeps ``kept`` bits."""
    shape = LaneShape(weights=Fixed(bits=weight_bits), activations=_unsigned(bits), lane=Lane.ROWS)
    return ScaledUnit(
        shape=shape,
        scaling=BlockScaling(scale=IntScale(bits=scale_bits), vector=LANES, product_bits=kept),
        accumulator_bits=max(ACCUMULATOR_BITS, _needed(shape) + kept),
        sign_style=SignStyle.CARRY,
        scaled_by=Lane.PRODUCT if dsp_allowed else Lane.ROWS,
    )


def unit(weights: Format, activations: Format, lane: Lane, style: SignStyle) -> Unit:
    """Return the unit of 16 lanes: 24 bits of accumulator, or what one step needs if more."""
    shape = LaneShape(weights=weights, activations=activations, lane=lane)
    return Unit(
        shape=shape,
        lanes=LANES,
        accumulator_bits=max(ACCUMULATOR_BITS, _needed(shape)),
        sign_style=style,
    )


def _needed(shape: LaneShape) -> int:
    """Return bits for two steps: an accumulator that cannot take a second one is none."""
    return shape.term_bits + (2 * LANES - 1).bit_length()
