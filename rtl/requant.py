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
    pipelined; ``code`` comes 6 cycles after the accumulator.

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
        A :class:`~celosia.models.network.Rounding` by value, 4 cycles after the accumulator.
    low, high : In(signed(code_bits))
        Limits, 5 cycles after the accumulator.
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
        for n in range(3):
            shift.append(Signal(SHIFT_BITS, name=f"shift_{n + 1}", reset_less=True))
            m.d.sync += shift[-1].eq(shift[-2])
        self._round(m, self._scale(m), shift[3])
        return m

    def _scale(self, m: Module) -> Signal:
        """Three stages: bias, products, sum."""
        constants = self.constants
        # The high part needs a bit of its own for the sign.
        value = Signal(signed(max(self._accumulator_bits, LOW_BITS) + 1), reset_less=True)
        positive, negative, weight = (
            Signal(signed(MULTIPLIER_BITS), name=name, reset_less=True)
            for name in ("positive", "negative", "residual_multiplier")
        )
        residual = Signal(signed(self._code_bits), name="residual_code", reset_less=True)
        m.d.sync += [
            value.eq(self.accumulator + constants.bias),
            positive.eq(constants.positive),
            negative.eq(constants.negative),
            weight.eq(constants.residual),
            residual.eq(self.residual),
        ]
        multiplier = Signal(signed(MULTIPLIER_BITS))
        m.d.comb += multiplier.eq(Mux(value[-1], negative, positive))
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
        scaled = Signal(
            signed(max(len(value), self._code_bits) + MULTIPLIER_BITS + 1), reset_less=True
        )
        m.d.sync += scaled.eq((high << LOW_BITS) + low + added)
        return scaled

    def _round(self, m: Module, scaled: Signal, shift: Value) -> None:
        """Three stages: shift, round, clamp."""
        # One more bit on the right keeps the first bit that is shifted out.
        wide = Cat(Const(0, 1), scaled).as_signed()
        shifted = Signal(signed(len(wide)), reset_less=True)
        sticky = Signal(reset_less=True)
        lost = ((1 << shift) - 1)[: len(wide)]
        m.d.sync += [shifted.eq(wide >> shift), sticky.eq((wide & lost).any())]

        floor = shifted[1:].as_signed()
        limit = 1 << self._code_bits  # beyond every code, so clamping twice changes nothing
        narrow = Signal(signed(self._code_bits + 1))
        with m.If(floor < -limit):
            m.d.comb += narrow.eq(-limit)
        with m.Elif(floor >= limit):
            m.d.comb += narrow.eq(limit - 1)
        with m.Else():
            m.d.comb += narrow.eq(floor)
        up = Signal()
        m.d.comb += up.eq(
            shifted[0] & (sticky | shifted[1] | (self.rounding == Rounding.HALF_UP.value))
        )
        rounded = Signal(signed(self._code_bits + 2), reset_less=True)
        m.d.sync += rounded.eq(narrow + up)

        with m.If(rounded < self.low):
            m.d.sync += self.code.eq(self.low)
        with m.Elif(rounded > self.high):
            m.d.sync += self.code.eq(self.high)
        with m.Else():
            m.d.sync += self.code.eq(rounded)
