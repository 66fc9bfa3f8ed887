"""Product of a fixed-point weight and an activation."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value, signed

from celosia.models.formats import Fixed, Format
from celosia.rtl.pe.base import LANE_BITS, Multiplier


class FixedMultiplier(Multiplier):
    """The code taken as an integer, signed where the format is, times the activation."""

    def __init__(self, m: Module, weight_format: Format, code: Value, name: str) -> None:
        if not isinstance(weight_format, Fixed):
            raise TypeError(f"weight_format must be a Fixed, not {weight_format!r}")
        self._weight = Signal(signed(LANE_BITS), name=f"weight_{name}")
        m.d.comb += self._weight.eq(code.as_signed() if weight_format.signed else code)

    def product(self, activation: Value) -> Value:
        return (activation.as_signed() * self._weight)[:LANE_BITS]
