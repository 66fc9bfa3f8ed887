"""Shifting right, rounding to even and clamping, in one cycle or in two."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared


def mask_below(shift: Value) -> Value:
    """Return 1 for each bit that ``shift`` shifts out but the highest of them."""
    return ((1 << shift) - 1) >> 1


def floor_and_carry(m: Module, total: Signal, *, shift: Value, mask: Value) -> tuple[Value, Value]:
    """Return ``total / 2**shift`` rounded down, and whether rounding to even adds 1 to it.

    ``mask`` is that of :func:`mask_below`.
    """
    width = len(total)
    floor = Signal(signed(width))
    below = Signal(width)  # the bits that are shifted out, but the highest of them
    half, up = Signal(), Signal()
    doubled = Cat(Const(0, 1), total).as_signed()
    m.d.comb += [
        floor.eq(total >> shift),
        half.eq(doubled.bit_select(shift, 1)),
        below.eq(total.as_unsigned() & mask),
        up.eq(half & ((below != 0) | floor[0])),
    ]
    return floor, up


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
        floor, up = floor_and_carry(m, self.total, shift=self.shift, mask=self.mask)
        m.d.comb += [self.floor.eq(floor), self.up.eq(up)]
        return m


def clamped(m: Module, floor: Value, up: Value, *, low: Value, high: Value) -> Value:
    """Return ``floor + up``, clamped to ``low..high``."""
    value = Signal(signed(len(floor) + 1))
    m.d.comb += value.eq(floor + up)
    return Mux(value < low, low, Mux(value > high, high, value))


def rounded(m: Module, total: Signal, *, shift: Value, low: Value, high: Value) -> Value:
    """Return ``total / 2**shift``, ties to even, clamped to ``low..high``."""
    floor, up = floor_and_carry(m, total, shift=shift, mask=mask_below(shift))
    return clamped(m, floor, up, low=low, high=high)
