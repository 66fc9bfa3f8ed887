"""Product of a power-of-two weight and an activation: one shift.

The format is that of DeepShift and RMSMP (ICCV 2021, section 3).
"""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value

from celosia.models.formats import Format, Pot
from celosia.rtl.pe.base import LANE_BITS, Multiplier


class PotMultiplier(Multiplier):
    """The activation shifted by the code's field, 0 where that is 0, inverted by its sign.

    A negative weight inverts all bits and owes the 1 that makes it a negation.
    """

    def __init__(
        self, m: Module, weight_format: Format, code: Value, name: str, width: int = LANE_BITS
    ) -> None:
        if not isinstance(weight_format, Pot):
            raise TypeError(f"weight_format must be a Pot, not {weight_format!r}")
        self._width = width
        field = code[:-1]
        some = Signal(name=f"some_{name}")
        self._sign = code[-1]
        self._mask = Signal(width, name=f"mask_{name}")
        self._shift = Signal(len(field), name=f"shift_{name}")
        self._invert = Signal(width, name=f"invert_{name}")
        m.d.comb += [
            some.eq(field.any()),
            self._mask.eq(some.replicate(width)),
            self._shift.eq(field - some),
            self._invert.eq(self._sign.replicate(width)),
        ]

    @property
    def owed(self) -> Value:
        return self._sign

    def product(self, activation: Value) -> Value:
        shifted = ((activation & self._mask) << self._shift)[: self._width]
        return shifted ^ self._invert
