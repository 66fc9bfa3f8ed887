"""The check of a SpArch descriptor before it is handed on."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.descriptors import DESCRIPTOR_BITS
from celosia.rtl.rules import Rule, address_rules, check_rules
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import LAYOUTS, Opcode


class SparchLegality(Shared):
    """Says whether a descriptor is legal, as far as it can be told from it alone. No latency.

    It is when its opcode is known, all bits above its layout are 0, addresses are multiples of a
    beat's bytes and within the port's width, its leaves and partial matrix are there, and there
    are work records, and beats of them, if and only if leaves are fed.
    :class:`~celosia.rtl.sparch.control.RoundControl` has the rules that depend on others.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    descriptor : In(512)
    legal : Out(1)
    """

    descriptor: Signal
    legal: Signal

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        super().__init__(
            {"descriptor": In(DESCRIPTOR_BITS), "legal": Out(1)},
            name="sparch_legality",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        rules: dict[Opcode, Rule] = {
            Opcode.SOURCE: (LAYOUTS[Opcode.SOURCE], self._source),
            Opcode.ROUND: (LAYOUTS[Opcode.ROUND], self._round),
            Opcode.STAMP: (LAYOUTS[Opcode.STAMP], self._stamp),
            Opcode.END: (LAYOUTS[Opcode.END], lambda _: []),
        }
        check_rules(m, self.descriptor, self.legal, rules)
        return m

    def _source(self, p: Any) -> list[Value]:
        return [
            p.leaf < self._accelerator.tree.ways,
            p.partial < self._accelerator.partials.alive,
            *address_rules(self._accelerator.bus, p.address),
        ]

    def _stamp(self, p: Any) -> list[Value]:
        return address_rules(self._accelerator.bus, p.address)

    def _round(self, p: Any) -> list[Value]:
        bus = self._accelerator.bus
        addresses = (p.left, p.right, p.target, p.pointers)
        return [
            p.partial < self._accelerator.partials.alive,
            p.leaves[self._accelerator.tree.ways :] == 0,
            p.leaves.any() == p.records.any(),
            p.leaves.any() == p.beats.any(),
            *(rule for address in addresses for rule in address_rules(bus, address)),
        ]
