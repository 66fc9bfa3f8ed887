"""Product of a small floating-point weight and an activation: a short product and a shift.

The format is that of ESB (IEEE TPDS 33(11), 2022, section 3). Powers of two (RMSMP, ICCV 2021,
section 3) are such floats without mantissa bits.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from celosia.models.formats import Esb, Format, Pot, element_formats
from celosia.rtl.pe.base import LANE_BITS, Multiplier


def esb_value(fmt: Esb, code: Value) -> Value:
    """Return the signed integer that a ``code`` of format ``fmt`` stands for."""
    exponent = code[fmt.linear : fmt.linear + fmt.exponent_bits]
    normal = exponent.any()
    magnitude = ((normal << fmt.linear) | code[: fmt.linear]) << (exponent - normal)[
        : fmt.exponent_bits
    ]
    size = magnitude[: fmt.high.bit_length()]
    return Mux(code[fmt.bits - 1], -size, size) if fmt.signed else Cat(size, 0).as_signed()


def esb_element(fmt: Esb, code: Value, is_signed: Value) -> Value:
    """Return what an element of ``fmt`` stands for, or, where it is one, of ``fmt`` with a sign."""
    values = [esb_value(each, code) for each in element_formats(fmt) if isinstance(each, Esb)]
    return values[0] if len(values) == 1 else Mux(is_signed, values[1], values[0])


class FloatMultiplier(Multiplier):
    """The activation times the significand, shifted by the exponent, inverted by the sign.

    A negative weight inverts all bits and owes the 1 that makes it a negation. Without mantissa
    bits the significand is 1 or, for a field of 0, 0.
    """

    def __init__(
        self, m: Module, weight_format: Format, code: Value, name: str, width: int = LANE_BITS
    ) -> None:
        match weight_format:
            case Esb(linear=linear, signed=is_signed):
                field = code[:-1] if is_signed else code
            case Pot():
                linear, is_signed, field = 0, True, code[:-1]
            case _:
                raise TypeError(f"weight_format must be an Esb or a Pot, not {weight_format!r}")
        self._m, self._name, self._width = m, name, width
        exponent = field[linear:]
        normal = Signal(name=f"normal_{name}")
        self._sign = code[-1] if is_signed else Const(0, 1)
        self._significand = Signal(linear + 1, name=f"significand_{name}")
        self._shift = Signal(len(exponent), name=f"shift_{name}")
        self._invert = Signal(width, name=f"invert_{name}")
        m.d.comb += [
            normal.eq(exponent.any()),
            self._significand.eq((normal << linear) | field[:linear]),
            self._shift.eq(exponent - normal),
            self._invert.eq(self._sign.replicate(width)),
        ]

    @property
    def owed(self) -> Value:
        return self._sign

    @property
    def alone(self) -> bool:
        # A product before the shift takes as long as one more bit of it.
        digits = len(self._significand)
        return len(self._shift) + (digits > 1) > 3 or digits > 3

    def product(self, activation: Value) -> Value:
        magnitude = Signal(signed(self._width), name=f"magnitude_{self._name}")
        if len(self._significand) > 1:
            self._m.d.comb += magnitude.eq(activation * self._significand)
        else:
            # Not a product, for which synthesis might take a DSP block.
            self._m.d.comb += magnitude.eq(Mux(self._significand, activation, 0))
        return (magnitude << self._shift)[: self._width] ^ self._invert
