"""A post lane: from an accumulator to an output code, exactly as the network defines it."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.models.network import (
    MAX_ACCUMULATOR_BITS,
    MAX_WIDE_BITS,
    MULTIPLIER_BITS,
    Rounding,
)
from celosia.rtl.shared import Shared

SHIFT_BITS = 6
"""Bits of a right shift."""

FINE_BITS = 3
"""Bits of a shift that the second of its two stages makes."""

LOW_BITS = 17
"""Bits of the accumulator's low part: with a sign bit, one input of a DSP block."""


def constants_layout(accumulator_bits: int) -> data.StructLayout:
    """Return the layout of one channel's constants, as they lie in memory."""
    return data.StructLayout(
        {
            "bias": signed(accumulator_bits),
            "positive": signed(MULTIPLIER_BITS),
            "negative": signed(MULTIPLIER_BITS),
            "residual": signed(MULTIPLIER_BITS),
            "shift": SHIFT_BITS,
        }
    )


class Requant(Shared):
    """One post lane: bias, sign-selected multiplier, residual, rounding shift, clamp.

    ``v = accumulator + bias``, ``p = v * (negative if v < 0 else positive) + residual *
    constants.residual``, ``code = clamp(round(p / 2**shift), low, high)``, all exact. Fully
    pipelined; ``code`` comes 8 cycles after the accumulator.

    Parameters
    ----------
    accumulator_bits : int
        Bits of an accumulator, 16 to 44.
    code_bits : int
        Bits of a code and of the residual operand, signed, 9 to 25.

    Members
    -------
    accumulator : In(signed(accumulator_bits))
    constants : In(constants_layout(accumulator_bits))
    residual : In(signed(code_bits))
        The residual operand's code; with the accumulator, as are the constants.
    rounding : In(1)
        A :class:`~celosia.models.network.Rounding` by value, 6 cycles after the accumulator.
    low, high : In(signed(code_bits))
        Limits, 7 cycles after the accumulator.
    code : Out(signed(code_bits))
    """

    def __init__(self, *, accumulator_bits: int, code_bits: int) -> None:
        if not 16 <= accumulator_bits <= MAX_ACCUMULATOR_BITS:
            raise ValueError(
                f"accumulator_bits must be 16 to {MAX_ACCUMULATOR_BITS}, not {accumulator_bits!r}"
            )
        if not 9 <= code_bits <= MAX_WIDE_BITS:
            raise ValueError(f"code_bits must be 9 to {MAX_WIDE_BITS}, not {code_bits!r}")
        self._accumulator_bits, self._code_bits = accumulator_bits, code_bits
        super().__init__(
            {
                "accumulator": In(signed(accumulator_bits)),
                "constants": In(constants_layout(accumulator_bits)),
                "residual": In(signed(code_bits)),
                "rounding": In(1),
                "low": In(signed(code_bits)),
                "high": In(signed(code_bits)),
                "code": Out(signed(code_bits)),
            },
            name=f"requant_{accumulator_bits}_{code_bits}",
            parameters=(accumulator_bits, code_bits),
        )

    @property
    def accumulator_bits(self) -> int:
        return self._accumulator_bits

    @property
    def code_bits(self) -> int:
        return self._code_bits

    def build(self) -> Module:
        m = Module()
        shift: list[Value] = [self.constants.shift]
        for n in range(5):
            shift.append(Signal(SHIFT_BITS, name=f"shift_{n + 1}", reset_less=True))
            m.d.sync += shift[-1].eq(shift[-2])
        # One more bit on the right keeps the first bit that is shifted out.
        wide = Cat(Const(0, 1), self._scale(m)).as_signed()
        coarse = Cat(Const(0, FINE_BITS), shift[4][FINE_BITS:])
        shifted, sticky = self._shift(m, "coarse", wide, Const(0, 1), coarse)
        self._round(m, *self._shift(m, "fine", shifted, sticky, shift[5][:FINE_BITS]))
        return m

    def _scale(self, m: Module) -> Signal:
        """Four stages: bias, products, and two of their sum."""
        constants = self.constants
        # The high part needs a bit of its own for the sign.
        value = Signal(signed(max(self._accumulator_bits, LOW_BITS) + 1), reset_less=True)
        biased = Signal(value.shape())
        multiplier, weight = (
            Signal(signed(MULTIPLIER_BITS), name=name, reset_less=True)
            for name in ("multiplier", "residual_multiplier")
        )
        residual = Signal(signed(self._code_bits), name="residual_code", reset_less=True)
        m.d.comb += biased.eq(self.accumulator + constants.bias)
        m.d.sync += [
            value.eq(biased),
            multiplier.eq(Mux(biased[-1], constants.negative, constants.positive)),
            weight.eq(constants.residual),
            residual.eq(self.residual),
        ]
        low, high, added = (
            Signal(shape, name=name, reset_less=True)
            for name, shape in (
                ("product_low", signed(LOW_BITS + 1 + MULTIPLIER_BITS)),
                ("product_high", signed(len(value) - LOW_BITS + MULTIPLIER_BITS)),
                ("product_residual", signed(self._code_bits + MULTIPLIER_BITS)),
            )
        )
        m.d.sync += [
            low.eq(value[:LOW_BITS] * multiplier),
            high.eq(value[LOW_BITS:].as_signed() * multiplier),
            added.eq(residual * weight),
        ]
        bits = max(len(value), self._code_bits) + MULTIPLIER_BITS + 1
        return self._sum(m, bits, (high << LOW_BITS).as_signed(), low, added)

    @staticmethod
    def _sum(m: Module, bits: int, high: Value, low: Value, added: Value) -> Signal:
        """Two stages: a half of the ``bits`` each, so that no carry runs through all of them."""
        half = bits // 2
        terms = [Signal(signed(bits), name=f"term_{n}") for n in range(3)]
        m.d.comb += [term.eq(value) for term, value in zip(terms, (high, low, added), strict=True)]
        lower = Signal(half + 2, reset_less=True)  # and what it carries
        upper = [Signal(bits - half, name=f"upper_{n}", reset_less=True) for n in range(2)]
        m.d.sync += [
            lower.eq(terms[0][:half] + terms[1][:half] + terms[2][:half]),
            upper[0].eq(terms[0][half:]),
            upper[1].eq(terms[1][half:] + terms[2][half:]),
        ]
        scaled = Signal(signed(bits), reset_less=True)
        whole = (upper[0] + upper[1] + lower[half:])[: bits - half]
        m.d.sync += scaled.eq(Cat(lower[:half], whole))
        return scaled

    @staticmethod
    def _shift(
        m: Module, name: str, value: Value, sticky: Value, amount: Value
    ) -> tuple[Signal, Signal]:
        """One stage: shift right; the second value says whether any bit was 1 that is lost."""
        shifted = Signal(signed(len(value)), name=f"shifted_{name}", reset_less=True)
        lost = Signal(name=f"sticky_{name}", reset_less=True)
        kept = (Const(-1, len(value)).as_unsigned() << amount)[: len(value)]
        m.d.sync += [
            shifted.eq(value.as_signed() >> amount),
            lost.eq(sticky | (value & ~kept).any()),
        ]
        return shifted, lost

    def _round(self, m: Module, shifted: Signal, sticky: Signal) -> None:
        """Two stages: round, clamp."""
        floor = shifted[1:].as_signed()
        # Beyond every code, whatever is added by rounding.
        sign, beyond = floor[-1], floor[self._code_bits : -1]
        below, above = (Signal(name=name, reset_less=True) for name in ("below", "above"))
        rounded = Signal(signed(self._code_bits + 2), reset_less=True)
        up = Signal()
        m.d.comb += up.eq(
            shifted[0] & (sticky | shifted[1] | (self.rounding == Rounding.HALF_UP.value))
        )
        m.d.sync += [
            below.eq(sign & ~beyond.all()),
            above.eq(~sign & beyond.any()),
            rounded.eq(floor[: self._code_bits + 1].as_signed() + up),
        ]
        with m.If(below | (~above & (rounded < self.low))):
            m.d.sync += self.code.eq(self.low)
        with m.Elif(above | (rounded > self.high)):
            m.d.sync += self.code.eq(self.high)
        with m.Else():
            m.d.sync += self.code.eq(rounded)
