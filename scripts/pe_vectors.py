"""Vector MACs of VS-Quant, MX and NVFP4, as rows of the table of processing elements.

Names of VS-Quant hold the bits of scales and how many their product keeps, such as ``vsquant s4
p6``: with the widths of elements that is the paper's W/A/ws/as, 4/4/4/4. Elements of MX and NVFP4
are signed; where the weights alone have scales, activations are unsigned fixed point.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from celosia.dataflow.array_shape import Circuit
from celosia.models.formats import E8M0, UE4M3, BlockScaling, Esb, Fixed, Format, IntScale
from celosia.rtl.pe.scaled_unit import ScaledUnit, scaled_bits
from celosia.rtl.pe.unit import LaneShape, SignStyle
from celosia.scripts.pe_case import PeCase
from celosia.scripts.pe_lanes import ACCUMULATOR_BITS, LANES, unsigned

PROOF = "tests/rtl/test_unit.py::test_scaled_products"

MX_VECTOR = 32
"""Elements that share a scale in OCP's microscaling formats."""

MX_SCALE = E8M0(bits=4)
"""Binades that an accumulator of 48 bits holds the products of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    pe: str
    weights: Format
    activations: Format
    scaling: BlockScaling
    both: bool = True


def _rows() -> Iterator[_Row]:
    yield from _vs_quant()
    fp4, fp6, fp6_wide = (Esb(bits=b, linear=n) for b, n in ((4, 1), (6, 3), (6, 2)))
    mx = BlockScaling(scale=MX_SCALE, vector=MX_VECTOR)
    nv = BlockScaling(scale=UE4M3(), vector=LANES)
    for pe, element, bits, scaling in (
        ("mxint8", Fixed(bits=8), 8, mx),
        ("mxfp4", fp4, 4, mx),
        ("mxfp6 e2m3", fp6, 6, mx),
        ("mxfp6 e3m2", fp6_wide, 6, mx),
        ("nvfp4", fp4, 4, nv),
    ):
        alone = unsigned(bits)
        yield _Row(
            pe=f"{pe} weights", weights=element, activations=alone, scaling=scaling, both=False
        )
        yield _Row(pe=pe, weights=element, activations=element, scaling=scaling)
    # What the engine's columns multiply such weights by: fixed point with a vector's scale.
    yield _Row(pe="mxfp4, fixed", weights=fp4, activations=Fixed(bits=4), scaling=mx)
    yield _Row(pe="nvfp4, fixed", weights=fp4, activations=Fixed(bits=4), scaling=nv)


def _vs_quant() -> Iterator[_Row]:
    for weight_bits, bits, scale_bits, kept in (
        (4, 4, 4, 8), (4, 4, 4, 6), (4, 4, 4, 4), (4, 4, 6, 6),
        (4, 8, 4, 6), (4, 8, 6, 6), (6, 8, 6, 6), (8, 8, 6, 6),
    ):  # fmt: skip
        scaling = BlockScaling(scale=IntScale(bits=scale_bits), vector=LANES, product_bits=kept)
        yield _Row(
            pe=f"vsquant s{scale_bits} p{kept}",
            weights=Fixed(bits=weight_bits),
            activations=unsigned(bits),
            scaling=scaling,
        )
    for weight_bits, bits in ((4, 4), (4, 8)):
        yield _Row(
            pe="vsquant s4 weights",
            weights=Fixed(bits=weight_bits),
            activations=unsigned(bits),
            scaling=BlockScaling(scale=IntScale(bits=4), vector=LANES),
            both=False,
        )


def vector_cases() -> tuple[PeCase, ...]:
    """Return the case of each vector MAC, with DSP blocks or none."""
    return tuple(
        PeCase(
            pe=row.pe,
            build=functools.partial(_unit, row, dsp_allowed),
            lanes=row.scaling.vector,
            weight_bits=row.weights.bits,
            act_bits=row.activations.bits,
            dsp_allowed=dsp_allowed,
            proof=PROOF,
        )
        for row in _rows()
        # A power of two as a scale shifts: there is nothing for a DSP block.
        for dsp_allowed in ((False,) if isinstance(row.scaling.scale, E8M0) else (False, True))
    )


def _unit(row: _Row, dsp_allowed: bool) -> ScaledUnit:
    """Return the vector MAC of ``row``: 24 bits of accumulator, or what one vector needs."""
    shape = LaneShape(weights=row.weights, activations=row.activations, circuit=Circuit.LUTS)
    bits = scaled_bits(shape, row.scaling, activation_scales=row.both)
    return ScaledUnit(
        shape=shape,
        scaling=row.scaling,
        activation_scales=row.both,
        accumulator_bits=max(ACCUMULATOR_BITS, bits),
        sign_style=SignStyle.CARRY,
        scaled_by=Circuit.LANES if dsp_allowed else Circuit.LUTS,
    )
