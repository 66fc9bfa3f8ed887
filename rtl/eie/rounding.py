"""Shifting right, rounding to even and clamping, in one cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed


def rounded(m: Module, total: Signal, *, shift: Value, low: Value, high: Value) -> Value:
    """Return ``total / 2**shift``, ties to even, clamped to ``low..high``."""
    width = len(total)
    floor = Signal(signed(width))
    below = Signal(width)  # the bits that are shifted out, but the highest of them
    half, up = Signal(), Signal()
    value = Signal(signed(width + 1))
    doubled = Cat(Const(0, 1), total).as_signed()
    m.d.comb += [
        floor.eq(total >> shift),
        half.eq(doubled.bit_select(shift, 1)),
        below.eq(total.as_unsigned() & (((1 << shift) - 1) >> 1)),
        up.eq(half & ((below != 0) | floor[0])),
        value.eq(floor + up),
    ]
    return Mux(value < low, low, Mux(value > high, high, value))
