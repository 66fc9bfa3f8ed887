"""Arithmetic on values of matrices: integers that wrap, and IEEE 754 singles."""

from __future__ import annotations

from typing import Any, Final

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import Elements, ValueKind
from celosia.rtl.shared import Shared

SINGLE_BITS: Final = 32
FRACTION_BITS: Final = 23
EXPONENT_BITS: Final = 8
BIAS: Final = 127
INFINITE: Final = 255
"""The exponent's field of infinities and NaNs."""
GUARD_BITS: Final = 3
"""Bits below a sum's last one: two that a subtraction may shift in, and what was shifted out."""
NAN: Final = 0x7FC00000

_SUFFIX: Final = {
    ValueKind.INTEGER: "int",
    ValueKind.FIXED: "int",
    ValueKind.BFLOAT16: "bf",
    ValueKind.FLOAT32: "float",
}

SingleLayout = data.StructLayout({"fraction": FRACTION_BITS, "exponent": EXPONENT_BITS, "sign": 1})


def is_zero(kind: ValueKind, value: Value) -> Value:
    """Return whether ``value`` is 0, or of floats -0."""
    return (value[: SINGLE_BITS - 1] if kind.floating else value) == 0


def leading_zeros(m: Module, value: Value, name: str) -> tuple[Value, Value]:
    """Return how many zeros stand before the first one of ``value``, and ``value`` without them.

    Of 0 it is all but one, rounded up. A level of multiplexers for each bit of the count.
    """
    width = len(value)
    count: list[Value] = []
    for stage in reversed(range((width - 1).bit_length())):
        step = 1 << stage
        none, shifted = Signal(name=f"{name}_none_{stage}"), Signal(width, name=f"{name}_{stage}")
        m.d.comb += [
            none.eq(value[max(0, width - step) :] == 0),
            shifted.eq(Mux(none, value << step, value)),
        ]
        count.insert(0, none)
        value = shifted
    return Cat(count), value


def shifted_down(value: Value, by: Value) -> tuple[Value, Value]:
    """Return ``value`` >> ``by``, at most its width, and whether a one is lost."""
    width = len(value)
    limited = Mux(by > width, width, by)[: width.bit_length()]
    both = (Cat(Const(0, width), value) >> limited)[: 2 * width]
    return both[width:], both[:width].any()


def rounded_single(sign: Value, exponent: Value, significand: Value, rest: Value) -> Value:
    """Return the single of a significand of 24 bits and more, to nearest, ties to even.

    Its first bit is that of the value 1, 0 only in subnormals, where ``exponent``, the field of a
    normal number, is 1. ``rest``: there is something below its last bit.
    """
    extra = len(significand) - FRACTION_BITS - 1
    kept = significand[extra:]
    guard, below = significand[extra - 1], significand[: extra - 1].any() | rest
    field = Mux(kept[-1], exponent[:EXPONENT_BITS], 0)
    up = guard & (below | kept[0])
    number = (Cat(kept[:FRACTION_BITS], field) + up)[: SINGLE_BITS - 1]
    overflow = Cat(Const(0, FRACTION_BITS), Const(INFINITE, EXPONENT_BITS))
    return Cat(Mux(exponent >= INFINITE, overflow, number), sign)


def is_nan(single: Any) -> Value:
    """Return whether ``single``, of :data:`SingleLayout`, is a NaN."""
    nan: Value = (single.exponent == INFINITE) & (single.fraction != 0)
    return nan


class Adder(Shared):
    """Adds two values. No latency.

    Integers and fixed-point numbers wrap. Singles are added as IEEE 754 says, rounded to nearest,
    ties to even, with subnormals and infinities; every NaN that comes out is 0x7FC00000.

    Parameters
    ----------
    elements : Elements
        Of the engine.

    Members
    -------
    a, b : In(accumulator bits)
    o : Out(accumulator bits)
    """

    def __init__(self, elements: Elements) -> None:
        self._floating = elements.kind.floating
        bits = elements.accumulator
        super().__init__(
            {"a": In(bits), "b": In(bits), "o": Out(bits)},
            name=f"adder_float{bits}" if self._floating else f"adder_int{bits}",
            parameters=(self._floating, bits),
        )

    def build(self) -> Module:
        m = Module()
        if not self._floating:
            m.d.comb += self.o.eq(self.a + self.b)
            return m
        swap = Signal()
        big: Any = Signal(SingleLayout)
        small: Any = Signal(SingleLayout)
        m.d.comb += [
            swap.eq(self.b[: SINGLE_BITS - 1] > self.a[: SINGLE_BITS - 1]),
            big.as_value().eq(Mux(swap, self.b, self.a)),
            small.as_value().eq(Mux(swap, self.a, self.b)),
        ]
        width = FRACTION_BITS + 1 + GUARD_BITS
        exponent, low = Signal(EXPONENT_BITS), Signal(EXPONENT_BITS)
        aligned, lost = Signal(width), Signal()
        differ, total = Signal(), Signal(width + 1)
        one = Cat(Const(0, GUARD_BITS), big.fraction, big.exponent.any())
        other = Cat(Const(0, GUARD_BITS), small.fraction, small.exponent.any())
        shifted, ones = shifted_down(other, (exponent - low)[:EXPONENT_BITS])
        m.d.comb += [
            exponent.eq(big.exponent | ~big.exponent.any()),
            low.eq(small.exponent | ~small.exponent.any()),
            aligned.eq(shifted),
            lost.eq(ones),
            differ.eq(big.sign ^ small.sign),
            total.eq(Mux(differ, one - (aligned | lost), one + (aligned | lost))),
        ]
        zeros, _ = leading_zeros(m, total, "zeros")
        shift, normal = Signal(len(zeros)), Signal(width + 1)
        result, sign = Signal(SINGLE_BITS), Signal()
        m.d.comb += [
            # Subnormals keep their zeros.
            shift.eq(Mux(zeros > exponent, exponent, zeros)),
            normal.eq(total << shift),
            # Equal ones of different signs cancel to +0.
            sign.eq(big.sign & ((total != 0) | ~differ)),
            result.eq(rounded_single(sign, (exponent + 1 - shift)[:9], normal, Const(0, 1))),
            self.o.eq(
                Mux(
                    big.exponent != INFINITE,
                    result,
                    Mux(
                        is_nan(big) | is_nan(small) | (differ & (small.exponent == INFINITE)),
                        NAN,
                        big.as_value(),
                    ),
                )
            ),
        ]
        return m


class Multiplier(Shared):
    """Multiplies two factors, once rounded. No latency.

    Integers and fixed-point numbers are exact. Of floats the product is a single; see
    :class:`Adder`.

    Parameters
    ----------
    elements : Elements
        Of the engine.

    Members
    -------
    a, b : In(factor bits)
    o : Out(accumulator bits)
    """

    def __init__(self, elements: Elements) -> None:
        self._kind, self._bits = elements.kind, elements.bits
        self._result_bits = elements.accumulator
        super().__init__(
            {"a": In(elements.bits), "b": In(elements.bits), "o": Out(elements.accumulator)},
            name=f"multiplier_{_SUFFIX[self._kind]}{self._bits}_{self._result_bits}",
            parameters=(self._kind.floating, self._bits, self._result_bits),
        )

    def build(self) -> Module:
        m = Module()
        if not self._kind.floating:
            exact = Signal(signed(2 * self._bits))
            m.d.comb += [
                exact.eq(self.a.as_signed() * self.b.as_signed()),
                self.o.eq(exact),
            ]
            return m
        factors = []
        unused = SINGLE_BITS - self._bits
        for name, bits in (("a", self.a), ("b", self.b)):
            factor: Any = Signal(SingleLayout, name=f"factor_{name}")
            m.d.comb += factor.as_value().eq(Cat(Const(0, unused), bits))
            factors.append(factor)
        one, other = factors
        size = FRACTION_BITS + 1 - unused  # bits of a factor's significand
        width = max(2 * size, FRACTION_BITS + GUARD_BITS)
        significands = [Cat(factor.fraction[unused:], factor.exponent.any()) for factor in factors]
        product = Signal(width)
        m.d.comb += product.eq((significands[0] * significands[1]) << (width - 2 * size))
        zeros, normal = leading_zeros(m, product, "zeros")
        # Of the product as it stands, were its first bit the value 2; up to 383 and down to -173.
        exponents = [factor.exponent | ~factor.exponent.any() for factor in factors]
        exponent = Signal(11)
        negative, down = Signal(), Signal(8)
        kept, lost = Signal(width), Signal()
        m.d.comb += [
            exponent.eq(exponents[0] + exponents[1] + 1 - BIAS - zeros),
            negative.eq(exponent[-1] | (exponent == 0)),
            down.eq(Mux(negative, 1 - exponent, 0)),
        ]
        shifted, ones = shifted_down(normal, down)
        sign, result = Signal(), Signal(SINGLE_BITS)
        field = Mux(negative, 1, exponent[:-1])
        infinite = (one.exponent == INFINITE) | (other.exponent == INFINITE)
        zero = [factor.as_value()[: SINGLE_BITS - 1] == 0 for factor in factors]
        overflow = Cat(Const(0, FRACTION_BITS), Const(INFINITE, EXPONENT_BITS), sign)
        m.d.comb += [
            kept.eq(shifted),
            lost.eq(ones),
            sign.eq(one.sign ^ other.sign),
            result.eq(rounded_single(sign, field, kept, lost)),
            self.o.eq(
                Mux(
                    is_nan(one) | is_nan(other) | (infinite & Cat(zero).any()),
                    NAN,
                    Mux(infinite, overflow, result),
                )
            ),
        ]
        return m
