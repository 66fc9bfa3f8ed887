"""Single accesses to an AXI4-Lite port."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from celosia.fpga.axi_ram import word_access_layout
from celosia.rtl.axi.bus import Axi4Lite
from celosia.rtl.shared import Shared


class LiteManager(Shared):
    """Turns accesses into AXI4-Lite transactions, one at a time. Responses are not looked at.

    Parameters
    ----------
    address_bits : int
        Of the AXI port; higher bits of an access's address are ignored.

    Members
    -------
    access : In(stream.Signature(word_access_layout()))
        Accesses to 32-bit registers; one is taken when its transaction begins.
    answer : Out(stream.Signature(32))
        One for each access, of a write too.
    axi : Out(Axi4Lite(address_bits=address_bits))
        The port.
    """

    access: Any
    answer: stream.Interface
    axi: Any

    def __init__(self, *, address_bits: int) -> None:
        self._address_bits = address_bits
        super().__init__(
            {
                "access": In(stream.Signature(word_access_layout())),
                "answer": Out(stream.Signature(32)),
                "axi": Out(Axi4Lite(address_bits=address_bits)),
            },
            name=f"lite_manager_a{address_bits}",
            parameters=(address_bits,),
        )

    def build(self) -> Module:
        m = Module()
        axi = self.axi
        waiting = Signal()  # for R or B
        m.d.comb += [
            self.access.ready.eq(~waiting & ~self.answer.valid),
            axi.wstrb.eq(0xF),
            axi.rready.eq(waiting),
            axi.bready.eq(waiting),
            axi.araddr.eq(axi.awaddr),
        ]
        for valid, ready in (
            (axi.arvalid, axi.arready),
            (axi.awvalid, axi.awready),
            (axi.wvalid, axi.wready),
            (self.answer.valid, self.answer.ready),
        ):
            with m.If(ready):
                m.d.sync += valid.eq(0)
        with m.If(self.access.valid & self.access.ready):
            m.d.sync += [
                waiting.eq(1),
                axi.awaddr.eq(self.access.p.address),
                axi.wdata.eq(self.access.p.data),
                axi.arvalid.eq(~self.access.p.write),
                axi.awvalid.eq(self.access.p.write),
                axi.wvalid.eq(self.access.p.write),
            ]
        with m.If(waiting & (axi.rvalid | axi.bvalid)):
            m.d.sync += [
                waiting.eq(0),
                self.answer.valid.eq(1),
                self.answer.payload.eq(axi.rdata),
            ]
        return m
