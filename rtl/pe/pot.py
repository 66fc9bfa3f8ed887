"""Product of a power-of-two weight and an activation in the fewest look-up tables.

The format is that of DeepShift and RMSMP (ICCV 2021, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value

from celosia.models.formats import Format, Pot
from celosia.rtl.pe.base import LANE_BITS, Multiplier

CHOICE_BITS = 2
"""Bits that choose one of as many bits as a six-input look-up table takes with them: four."""


class PotRows(Multiplier):
    """The activation shifted by the code's field, two bits of it at a time, then halved.

    The field j stands for ``2**(j - 1)``, so a shift by all of j gives twice the product and
    nothing has to be decoded. Of the lowest two bits each bit of the shifted activation is one
    six-input table. The field 0, which stands for 0, is found with the last choice, whose tables
    have inputs left: for it, and for the sign, which inverts all bits and owes the 1 that makes
    it a negation.
    """

    def __init__(
        self, m: Module, weight_format: Format, code: Value, name: str, width: int = LANE_BITS
    ) -> None:
        if not isinstance(weight_format, Pot):
            raise TypeError(f"weight_format must be a Pot, not {weight_format!r}")
        self._m, self._name, self._width = m, name, width
        self._field, self._sign = code[:-1], code[-1]

    @property
    def owed(self) -> Value:
        return self._sign

    @property
    def alone(self) -> bool:
        return len(self._field) > CHOICE_BITS + 1

    def product(self, activation: Value) -> Value:
        product = power(self._m, self._field, activation, self._name)
        return (product ^ self._sign.replicate(self._width))[: self._width]


def power(m: Module, field: Value, activation: Value, name: str) -> Value:
    """Return ``activation`` times ``2**(field - 1)``, or 0 where ``field`` is 0.

    Signed as ``activation`` is, as wide as it takes. ``name`` ends that of a signal.
    """
    low, high = field[:CHOICE_BITS], field[CHOICE_BITS:]
    shifted = [activation << n for n in range(1 << len(low))]
    near = Signal(shifted[-1].shape(), name=f"near_{name}")
    m.d.comb += near.eq(_chosen(low, shifted))
    some = (near & low.any().replicate(len(near)))[: len(near)]
    kept = some.as_signed() if near.shape().signed else some
    rest = (near << (n << CHOICE_BITS) for n in range(1, 1 << len(high)))
    return _chosen(high, [kept, *rest]) >> 1


def _chosen(select: Value, options: Sequence[Value]) -> Value:
    """Return the option of number ``select``."""
    for bit in select:
        options = [Mux(bit, one, zero) for zero, one in zip(*[iter(options)] * 2, strict=True)]
    (chosen,) = options
    return chosen
