"""The term of a truncating barrel shifter: an activation shifted, its lowest bits dropped.

The weight is a power of two (DeepShift, ShiftAddNet, NeurIPS 2020); the sign comes after the bits
were dropped, so a term is the floor of a shifted activation or minus such a floor.
"""

from __future__ import annotations

from amaranth.hdl import Value

from celosia.rtl.pe.base import Multiplier


class TruncatingShift(Multiplier):
    """The product of a power of two, less its lowest ``dropped`` bits.

    A negative weight inverts all bits that are left and owes the 1 that makes it a negation.
    ``exact`` is the multiplier, which must invert all bits of a negative product and owe that 1.
    """

    def __init__(self, exact: Multiplier, *, dropped: int) -> None:
        self._exact, self._dropped = exact, dropped

    @property
    def owed(self) -> Value | None:
        return self._exact.owed

    @property
    def alone(self) -> bool:
        return self._exact.alone

    def product(self, activation: Value) -> Value:
        # Dropping bits and inverting the rest may change places.
        return (self._exact.product(activation).as_signed() >> self._dropped).as_unsigned()
