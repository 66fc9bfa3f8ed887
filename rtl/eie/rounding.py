"""Shifting right, rounding to even and clamping, in one cycle or in two."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed


def floor_and_carry(m: Module, total: Signal, shift: Value) -> tuple[Value, Value]:
    """Return ``total / 2**shift`` rounded down, and whether rounding to even adds 1 to it."""
    width = len(total)
    floor = Signal(signed(width))
    below = Signal(width)  # the bits that are shifted out, but the highest of them
    half, up = Signal(), Signal()
    doubled = Cat(Const(0, 1), total).as_signed()
    m.d.comb += [
        floor.eq(total >> shift),
        half.eq(doubled.bit_select(shift, 1)),
        below.eq(total.as_unsigned() & (((1 << shift) - 1) >> 1)),
        up.eq(half & ((below != 0) | floor[0])),
    ]
    return floor, up


def clamped(m: Module, floor: Value, up: Value, *, low: Value, high: Value) -> Value:
    """Return ``floor + up``, clamped to ``low..high``."""
    value = Signal(signed(len(floor) + 1))
    m.d.comb += value.eq(floor + up)
    return Mux(value < low, low, Mux(value > high, high, value))


def rounded(m: Module, total: Signal, *, shift: Value, low: Value, high: Value) -> Value:
    """Return ``total / 2**shift``, ties to even, clamped to ``low..high``."""
    floor, up = floor_and_carry(m, total, shift)
    return clamped(m, floor, up, low=low, high=high)
