"""The check of a descriptor before it is handed to a unit."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.descriptors import COMPUTE_LOOPS, Unit
from celosia.rtl.descriptors import (
    DESCRIPTOR_BITS,
    POST_COUNTS,
    TRANSFER,
    ComputeLayout,
    HeaderLayout,
    LoadLayout,
    Opcode,
    PostLayout,
    StoreLayout,
)
from celosia.rtl.shared import Shared
from celosia.rtl.tokens import giver_mask, taker_mask

UNIT_OF = {
    Opcode.LOAD: Unit.LOAD,
    Opcode.COMPUTE: Unit.COMPUTE,
    Opcode.POST: Unit.POST,
    Opcode.STORE: Unit.STORE,
    Opcode.STAMP: Unit.STORE,
    Opcode.END: Unit.STORE,
}
"""The unit that runs each kind of descriptor."""

LAYOUT_OF = {
    Unit.LOAD: LoadLayout,
    Unit.COMPUTE: ComputeLayout,
    Unit.POST: PostLayout,
    Unit.STORE: StoreLayout,
}
"""The layout of the descriptors of each unit."""

TRANSFER_COUNTS = ("words", "n1", "n2", "n3")


class LegalityCheck(Shared):
    """Says whether a descriptor is legal. No latency.

    It is when all of these hold:

    - the opcode is known;
    - ``wait`` names only tokens that the unit takes, ``signal`` only tokens that it gives
      (none for an end);
    - all reserved bits and all bits above the layout are 0;
    - no count is 0; those of a stamp are 1, all of an end but the header is 0;
    - memory addresses and strides are multiples of a beat's bytes, and addresses have no bit
      above the port's width.

    Parameters
    ----------
    bus : Bus
        Widths of addresses and beats.

    Members
    -------
    descriptor : In(512)
        The descriptor.
    legal : Out(1)
        It is legal.
    """

    descriptor: Signal
    legal: Signal

    def __init__(self, bus: Bus) -> None:
        self._beat_shift = bus.data_bytes.bit_length() - 1
        self._address_bits = bus.address_bits
        super().__init__(
            {"descriptor": In(DESCRIPTOR_BITS), "legal": Out(1)},
            name="legality_check",
            parameters=(self._beat_shift, self._address_bits),
        )

    def build(self) -> Module:
        m = Module()
        header: Any = data.View(HeaderLayout, self.descriptor[: HeaderLayout.size])
        with m.Switch(self.descriptor[:4]):
            for opcode, unit in UNIT_OF.items():
                layout = LAYOUT_OF[unit]
                body: Any = data.View(layout, self.descriptor[: layout.size])
                gives = 0 if opcode is Opcode.END else giver_mask(unit)
                rules = [
                    (header.wait & ~taker_mask(unit)) == 0,
                    (header.signal & ~gives) == 0,
                    header.reserved == 0,
                    self.descriptor[layout.size :] == 0,
                    *self._rules(opcode, body),
                ]
                with m.Case(opcode.value):
                    m.d.comb += self.legal.eq(Cat(rules).all())
        return m

    def _rules(self, opcode: Opcode, body: Any) -> list[Value]:
        match opcode:
            case Opcode.COMPUTE:
                return [body.loops[index].count != 0 for index in range(COMPUTE_LOOPS)]
            case Opcode.POST:
                return [body[name] != 0 for name in POST_COUNTS]
            case Opcode.END:
                return [Value.cast(body[name]) == 0 for name in TRANSFER]
            case Opcode.STAMP:
                return [body[name] == 1 for name in TRANSFER_COUNTS] + self._aligned(body)
            case _:
                return [body[name] != 0 for name in TRANSFER_COUNTS] + self._aligned(body)

    def _aligned(self, body: Any) -> list[Value]:
        names = ("address", "s1", "s2", "s3")
        rules: list[Value] = [body[name][: self._beat_shift] == 0 for name in names]
        return [*rules, body.address[self._address_bits :] == 0]
