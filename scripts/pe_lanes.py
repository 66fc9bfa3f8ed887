"""Dot products of 16 lanes of every format, as rows of the table of processing elements."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from celosia.dataflow.array_shape import Circuit
from celosia.models.formats import Esb, Fixed, Format, Pot, Sp2
from celosia.models.operations import DISTANCE, MULTIPLY, Operation, shift
from celosia.rtl.pe.unit import LaneShape, SignStyle, Unit
from celosia.scripts.pe_case import PeCase

LANES = 16
ACCUMULATOR_BITS = 24
PROOF = "tests/rtl/test_unit.py::test_lanes"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A processing element and its operands; ``naive`` is the circuit of its naive sign style."""

    pe: str
    weights: Format
    activations: Format
    operation: Operation = MULTIPLY
    circuit: Circuit = Circuit.LANES
    naive: Circuit = Circuit.LANES


def unsigned(bits: int) -> Fixed:
    """Return the format of activations without a sign."""
    return Fixed(bits=bits, signed=False)


def _rows() -> Iterator[_Row]:
    """Yield every processing element of the table, with operands of each width."""
    for weight_bits, bits in (*((n, n) for n in (2, 3, 5, 6)), (4, 4), (4, 8), (8, 4), (8, 8)):
        yield _Row(
            pe="fixed",
            weights=Fixed(bits=weight_bits),
            activations=unsigned(bits),
            circuit=Circuit.LUTS,
        )
    # With one bit of exponent a float is a sign and a magnitude: what tables of lanes take
    # fixed point to be.
    for weight_bits, bits in ((4, 4), (4, 8), (8, 8)):
        sign_magnitude = Esb(bits=weight_bits, linear=weight_bits - 2)
        yield _Row(pe="fixed, sign-magnitude", weights=sign_magnitude, activations=unsigned(bits))
    for weight_bits, bits in ((4, 4), (4, 8), (8, 8)):
        yield _luts("sp2", Sp2(bits=weight_bits), bits)
    for weight_bits, bits in ((4, 4), (4, 8), (5, 8)):
        yield _luts("pot", Pot(bits=weight_bits), bits)
    fp4, fp6, fp6_wide = (Esb(bits=b, linear=n) for b, n in ((4, 1), (6, 3), (6, 2)))
    yield _Row(pe="esb4_1", weights=fp4, activations=unsigned(4))
    for float_format in (fp4, fp6, fp6_wide):
        yield _Row(pe=f"{float_format.name}^2", weights=float_format, activations=float_format)
    for bits in (4, 8):
        both = Fixed(bits=bits)
        yield _Row(pe="adder", weights=both, activations=both, operation=DISTANCE)
    # All fraction bits dropped, and as many as leave 8 (DeepShift).
    for bits, dropped in ((4, 6), (5, 6)):
        yield _luts(f"shift, {dropped} bits dropped", Pot(bits=bits), 8, shift(dropped))


def _luts(pe: str, weights: Format, bits: int, operation: Operation = MULTIPLY) -> _Row:
    """Return the row of what has lanes of the fewest look-up tables in both sign styles."""
    return _Row(
        pe=pe,
        weights=weights,
        activations=unsigned(bits),
        operation=operation,
        circuit=Circuit.LUTS,
        naive=Circuit.LUTS,
    )


def lane_cases() -> tuple[PeCase, ...]:
    """Return the case of each processing element, sign style, and DSP blocks or none."""
    return tuple(
        PeCase(
            pe=row.pe,
            build=functools.partial(
                unit,
                LaneShape(
                    weights=row.weights,
                    activations=row.activations,
                    operation=row.operation,
                    circuit=row.circuit if style is SignStyle.CARRY else row.naive,
                ),
                style,
            ),
            lanes=LANES,
            weight_bits=row.weights.bits,
            act_bits=row.activations.bits,
            sign_style=style,
            dsp_allowed=dsp_allowed,
            proof=PROOF,
        )
        for row in _rows()
        for style in SignStyle
        for dsp_allowed in (False, True)
    )


def unit(shape: LaneShape, style: SignStyle) -> Unit:
    """Return the unit of 16 lanes: 24 bits of accumulator, or what two steps need if more.

    An accumulator that cannot take a second step is none.
    """
    needed = shape.term_bits + (2 * LANES - 1).bit_length()
    return Unit(
        shape=shape,
        lanes=LANES,
        accumulator_bits=max(ACCUMULATOR_BITS, needed),
        sign_style=style,
    )
