"""Product of an SP2 weight and an activation: two shifts and an addition.

The format is that of MSQ ("Mix and Match", HPCA 2021, section 3): a weight is the sum of two
powers of two, so a product costs look-up tables and no DSP block.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed

from celosia.models.formats import Format, Sp2


def sp2_product(m: Module, weight_format: Format, code: Value, activation: Value) -> Value:
    """Add the activation shifted by each of the code's two fields, and negate by its sign."""
    if not isinstance(weight_format, Sp2):
        raise TypeError(f"weight_format must be an Sp2, not {weight_format!r}")
    q2, q1, negative = (
        code[: weight_format.m2],
        code[weight_format.m2 : -1],
        code[-1],
    )
    magnitude = _power(activation, q1) + (_power(activation, q2) << weight_format.q2_shift)
    # |weight| <= high, so the sum needs that many bits more than the activation.
    result = Signal(signed(len(activation) + weight_format.high.bit_length()), name="product")
    m.d.comb += result.eq(Mux(negative, -magnitude, magnitude))
    return result


def _power(activation: Value, field: Value) -> Value:
    """Return ``activation * 2**(field - 1)``, or 0 where ``field`` is 0."""
    top = (1 << len(field)) - 2
    shift = (field - 1)[: len(field)]
    shifted = (activation << shift)[: len(activation) + top].as_signed()
    return Mux(field == 0, 0, shifted)
