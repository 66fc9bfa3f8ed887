"""The serial circuit of Stripes (MICRO 2016): a whole weight by one bit of its activation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Value
from amaranth.lib import data

from celosia.rtl.scalable.base import COMMON, PassSequencer, ScalableDot
from celosia.rtl.scalable.bits import gated_sum, worth

SerialLayout = data.StructLayout(COMMON | {"bit": 4, "weights_signed": 1, "bit_negative": 1})
"""Which bit of activations, whether weights have signs, and whether the bit is one."""


class SerialSequencer(PassSequencer):
    """The bits of activations, the most significant first."""

    def __init__(self) -> None:
        super().__init__(SerialLayout, name="serial_sequencer")

    def _sequence(self, m: Module, held: Any, following: Any, begin: Value) -> None:
        now, top = self.control, (held.activation_bits - 1)[:4]
        with m.If(begin):
            m.d.sync += now.bit.eq(following.activation_bits - 1)
        with m.Elif(self.advance):
            m.d.sync += now.bit.eq(now.bit - 1)
        m.d.comb += [
            now.shift.eq(1),
            now.last.eq(now.bit == 0),
            now.weights_signed.eq(held.weights_signed),
            now.bit_negative.eq(held.activations_signed & (now.bit == top)),
        ]


class SerialDot(ScalableDot):
    """Every weight, gated by a bit of its activation, and their sum."""

    LAYOUT = SerialLayout
    SHIFTS = (0, 1)

    @staticmethod
    def sequencer() -> PassSequencer:
        return SerialSequencer()

    @property
    def activation_part_bits(self) -> int:
        return self._lanes

    @property
    def weight_part_bits(self) -> int:
        return self._weight_bits * self._lanes

    def activation_part(self, m: Module, lanes: Sequence[Value], control: Any) -> Value:
        return Cat(lane.bit_select(control.bit, 1) for lane in lanes)

    def weight_part(self, m: Module, lanes: Sequence[Value], control: Any) -> Value:
        return Cat(lane[: self._weight_bits] for lane in lanes)

    def pass_sum(
        self, m: Module, weights: Value, activations: Value, control: Sequence[Any], name: str
    ) -> tuple[Value, Value]:
        width = self._weight_bits
        whole = [weights.word_select(n, width) for n in range(self._lanes)]
        total = gated_sum(m, whole, activations, control[1].weights_signed, name)
        now = control[self.stages]
        return worth(total, width, self._lanes, now.weights_signed, now.bit_negative, Const(0))
