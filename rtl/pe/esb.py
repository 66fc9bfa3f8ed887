"""Product of a small floating-point weight and an activation: a short product and a shift.

The format is that of ESB (IEEE TPDS 33(11), 2022, section 3).
"""

from __future__ import annotations

from amaranth.hdl import Const, Module, Signal, Value

from celosia.models.formats import Esb, Format
from celosia.rtl.pe.base import LANE_BITS, Multiplier


class EsbMultiplier(Multiplier):
    """The activation times the significand, shifted by the exponent, inverted by the sign.

    A negative weight inverts all bits and owes the 1 that makes it a negation.
    """

    def __init__(
        self, m: Module, weight_format: Format, code: Value, name: str, width: int = LANE_BITS
    ) -> None:
        if not isinstance(weight_format, Esb):
            raise TypeError(f"weight_format must be an Esb, not {weight_format!r}")
        self._width = width
        linear, exponent_bits = weight_format.linear, weight_format.exponent_bits
        exponent = code[linear : linear + exponent_bits]
        normal = Signal(name=f"normal_{name}")
        self._sign = code[-1] if weight_format.signed else Const(0, 1)
        self._significand = Signal(linear + 1, name=f"significand_{name}")
        self._shift = Signal(exponent_bits, name=f"shift_{name}")
        self._invert = Signal(width, name=f"invert_{name}")
        m.d.comb += [
            normal.eq(exponent.any()),
            self._significand.eq((normal << linear) | code[:linear]),
            self._shift.eq(exponent - normal),
            self._invert.eq(self._sign.replicate(width)),
        ]

    @property
    def owed(self) -> Value:
        return self._sign

    def product(self, activation: Value) -> Value:
        magnitude = (activation * self._significand)[: self._width]
        return (magnitude << self._shift)[: self._width] ^ self._invert
