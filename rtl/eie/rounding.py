"""Shifting right, rounding to even and clamping, in two cycles."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared


def mask_below(shift: Value) -> Value:
    """Return 1 for each bit that ``shift`` shifts out but the highest of them: without carries."""
    above: list[Value] = [Const(0, 1)]  # of each number whether ``shift`` is above it
    for bit in shift:
        above = [*(flag | bit for flag in above), *(flag & bit for flag in above)]
    return Cat(above[1:])


class FloorAndCarry(Shared):
    """Shifts right, and says whether rounding to even adds 1. No latency.

    A module of its own, so that it is not put together with the sums around it.

    Parameters
    ----------
    width : int
        Bits of a total.

    Members
    -------
    total : In(signed(width))
    shift : In(6)
    mask : In(width)
        That of :func:`mask_below`.
    floor : Out(signed(width))
    up : Out(1)
    """

    total: Signal
    shift: Signal
    mask: Signal
    floor: Signal
    up: Signal

    def __init__(self, width: int) -> None:
        super().__init__(
            {
                "total": In(signed(width)),
                "shift": In(6),
                "mask": In(width),
                "floor": Out(signed(width)),
                "up": Out(1),
            },
            name=f"floor_and_carry_{width}",
            parameters=(width,),
        )

    def build(self) -> Module:
        m = Module()
        below = Signal(len(self.mask))  # the bits that are shifted out, but the highest of them
        half = Signal()
        doubled = Cat(Const(0, 1), self.total).as_signed()
        m.d.comb += [
            self.floor.eq(self.total >> self.shift),
            half.eq(doubled.bit_select(self.shift, 1)),
            below.eq(self.total.as_unsigned() & self.mask),
            self.up.eq(half & ((below != 0) | self.floor[0])),
        ]
        return m


def clamped(m: Module, floor: Value, up: Value, *, low: Value, high: Value) -> Value:
    """Return ``floor + up``, clamped to ``low..high``."""
    value = Signal(signed(len(floor) + 1))
    m.d.comb += value.eq(floor + up)
    return Mux(value < low, low, Mux(value > high, high, value))
