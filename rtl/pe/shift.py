"""The term of a truncating barrel shifter: an activation shifted, its lowest bits dropped.

The weight is a power of two (DeepShift, ShiftAddNet, NeurIPS 2020); the sign comes after the bits
were dropped, so a term is the floor of a shifted activation or minus such a floor.
"""

from __future__ import annotations

from amaranth.hdl import Module, Value

from celosia.models.formats import Format
from celosia.rtl.pe.base import Multiplier
from celosia.rtl.pe.pot import PotMultiplier


class TruncatingShift(Multiplier):
    """The activation shifted by a power of two, less its lowest ``dropped`` bits.

    A negative weight inverts all bits that are left and owes the 1 that makes it a negation.
    """

    def __init__(
        self, m: Module, weight_format: Format, code: Value, name: str, *, dropped: int
    ) -> None:
        self._exact = PotMultiplier(m, weight_format, code, name)
        self._dropped = dropped

    @property
    def owed(self) -> Value:
        return self._exact.owed

    def product(self, activation: Value) -> Value:
        # Dropping bits and inverting the rest may change places.
        return (self._exact.product(activation).as_signed() >> self._dropped).as_unsigned()
