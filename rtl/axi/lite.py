"""The AXI4-Lite subordinate in front of a register file."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out, Signature

from celosia.rtl.axi.bus import Axi4Lite
from celosia.rtl.shared import Shared


class RegisterBus(Signature):
    """Accesses to 32-bit registers, as seen by the subordinate's front end.

    Members
    -------
    write : Out(1)
        A write in this cycle.
    write_address : Out(address_bits - 2)
        Its word address.
    write_data : Out(32)
        Its data.
    write_strobe : Out(4)
        Its bytes that count.
    read_address : Out(address_bits - 2)
        Word address of a register that may be read; reading has no effect.
    read_data : In(32)
        Its value, in the same cycle.
    """

    def __init__(self, *, address_bits: int) -> None:
        self._address_bits = address_bits
        super().__init__(
            {
                "write": Out(1),
                "write_address": Out(address_bits - 2),
                "write_data": Out(32),
                "write_strobe": Out(4),
                "read_address": Out(address_bits - 2),
                "read_data": In(32),
            }
        )

    @property
    def address_bits(self) -> int:
        return self._address_bits

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RegisterBus) and other._address_bits == self._address_bits

    def __repr__(self) -> str:
        return f"RegisterBus(address_bits={self._address_bits})"


class LiteFrontEnd(Shared):
    """An AXI4-Lite subordinate: takes AW and W in either order, one access of each kind at a time.

    All outputs to the bus are registers. When AW and W were handshaken in cycles a and w, the
    register is written in cycle max(a, w) + 1 (or later, when B of the write before still waits)
    and B offered in the cycle after. A read handshaken in cycle r reads the register in r+1 (or
    later, when R of the read before still waits) and offers R in the cycle after. Every response
    is OKAY.

    Parameters
    ----------
    address_bits : int
        Width of byte addresses, 3 to 32; the two lowest are ignored.

    Members
    -------
    axi : In(Axi4Lite(address_bits=address_bits))
        The bus.
    registers : Out(RegisterBus(address_bits=address_bits))
        The registers.

    Raises
    ------
    ValueError
        ``address_bits`` is out of range.
    """

    axi: Any
    registers: Any

    def __init__(self, *, address_bits: int) -> None:
        if not 3 <= address_bits <= 32:
            raise ValueError(f"address_bits must be 3 to 32, not {address_bits!r}")
        self._address_bits = address_bits
        super().__init__(
            {
                "axi": In(Axi4Lite(address_bits=address_bits)),
                "registers": Out(RegisterBus(address_bits=address_bits)),
            },
            name=f"lite_front_end_a{address_bits}",
            parameters=(address_bits,),
        )

    def build(self) -> Module:
        m = Module()
        axi, registers = self.axi, self.registers

        # A ready that is 0 says that the request was taken and waits here.
        address_free = Signal(init=1)
        data_free = Signal(init=1)
        m.d.comb += [
            axi.awready.eq(address_free),
            axi.wready.eq(data_free),
            registers.write.eq(~address_free & ~data_free & (~axi.bvalid | axi.bready)),
        ]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(registers.write):
            m.d.sync += [address_free.eq(1), data_free.eq(1), axi.bvalid.eq(1)]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [address_free.eq(0), registers.write_address.eq(axi.awaddr[2:])]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [
                data_free.eq(0),
                registers.write_data.eq(axi.wdata),
                registers.write_strobe.eq(axi.wstrb),
            ]

        read_free = Signal(init=1)
        read = Signal()
        m.d.comb += [
            axi.arready.eq(read_free),
            read.eq(~read_free & (~axi.rvalid | axi.rready)),
        ]
        with m.If(axi.rready):
            m.d.sync += axi.rvalid.eq(0)
        with m.If(read):
            m.d.sync += [read_free.eq(1), axi.rvalid.eq(1), axi.rdata.eq(registers.read_data)]
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [read_free.eq(0), registers.read_address.eq(axi.araddr[2:])]
        return m
