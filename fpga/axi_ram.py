"""A block RAM behind an AXI4 port, which a host can look into."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from celosia.rtl.axi.bus import Axi4, Response
from celosia.rtl.shared import Shared


def word_access_layout() -> data.StructLayout:
    """Lay out a host's access to one 32-bit word; ``address`` is in bytes, a multiple of 4."""
    return data.StructLayout({"write": 1, "address": 32, "data": 32})


class AxiRam(Shared):
    """A memory of ``size_bytes`` from address 0: an AXI4 subordinate with a second, narrow port.

    One read and one write burst at a time, a beat each cycle. What is read goes through a register
    of its own, and so does what is written: the block RAMs of a large memory lie far from each
    other, and answer late. What was answered is there for whoever reads after it.
    Bursts are INCR and of full width. A burst that begins beyond the memory is answered DECERR
    and writes nothing; later beats wrap round. A host's access is made when no burst of its
    direction is in progress, so a run is not disturbed and polling waits for it.

    Parameters
    ----------
    address_bits, data_bits : int
        Of the AXI port.
    size_bytes : int
        A power of two, at least 4 KiB.

    Members
    -------
    axi : In(Axi4(address_bits=..., data_bits=...))
        The port of the engine.
    access : In(stream.Signature(word_access_layout()))
        A host's accesses; addresses beyond the memory wrap round.
    answer : Out(stream.Signature(32))
        One for each access, of a write too.

    Raises
    ------
    ValueError
        ``size_bytes`` is no power of two or too small.
    """

    axi: Any
    access: Any
    answer: stream.Interface

    def __init__(self, *, address_bits: int, data_bits: int, size_bytes: int) -> None:
        if size_bytes < 4096 or size_bytes & (size_bytes - 1):
            raise ValueError(f"size_bytes must be a power of two from 4096, not {size_bytes!r}")
        self._data_bits = data_bits
        self._depth = size_bytes * 8 // data_bits
        self._shift = (data_bits // 8).bit_length() - 1
        self._size_bits = size_bytes.bit_length() - 1
        super().__init__(
            {
                "axi": In(Axi4(address_bits=address_bits, data_bits=data_bits)),
                "access": In(stream.Signature(word_access_layout())),
                "answer": Out(stream.Signature(32)),
            },
            name=f"axi_ram_d{data_bits}_s{size_bytes}",
            parameters=(address_bits, data_bits, size_bytes),
        )

    def build(self) -> Module:
        m = Module()
        lanes = self._data_bits // 32
        rows: memory.Memory
        m.submodules.rows = rows = memory.Memory(shape=self._data_bits, depth=self._depth, init=[])
        read = rows.read_port()
        write = rows.write_port(granularity=32)
        put: Any = Signal(  # what is written in the cycle after
            data.StructLayout({"row": write.addr.shape(), "data": self._data_bits, "lanes": lanes})
        )
        m.d.comb += [write.addr.eq(put.row), write.data.eq(put.data), write.en.eq(put.lanes)]
        m.d.sync += put.lanes.eq(0)
        m.d.comb += read.en.eq(0)  # its default is 1, and a beat that waits must stay
        answered = Signal()  # an access was made in the cycle before
        pending = Signal()  # its answer waits
        lane = Signal(range(max(self._data_bits // 32, 2)))
        host_row = self.access.p.address[self._shift : self._size_bits]
        host_lane = self.access.p.address[2 : self._shift]
        reading = self._reads(m, read)
        writing = self._writes(m, put)

        free = Signal()
        m.d.comb += [
            free.eq(~answered & ~pending),
            self.access.ready.eq(free & Mux(self.access.p.write, ~writing, ~reading)),
        ]
        with m.If(self.access.valid & self.access.ready):
            m.d.sync += [answered.eq(1), lane.eq(host_lane)]
            with m.If(self.access.p.write):
                m.d.sync += [
                    put.row.eq(host_row),
                    put.data.eq(self.access.p.data.replicate(lanes)),
                    put.lanes.eq(1 << host_lane),
                ]
            with m.Else():
                m.d.comb += [read.addr.eq(host_row), read.en.eq(1)]
        with m.If(answered):
            m.d.sync += [
                answered.eq(0),
                pending.eq(1),
                self.answer.payload.eq(read.data.word_select(lane, 32)),
            ]
        m.d.comb += self.answer.valid.eq(pending)
        with m.If(self.answer.valid & self.answer.ready):
            m.d.sync += pending.eq(0)
        return m

    def _beyond(self, address: Any) -> Any:
        return address[self._size_bits :].any()

    def _reads(self, m: Module, read: Any) -> Signal:
        """Serve AR and R; return whether a burst holds the memory's read port."""
        axi = self.axi
        busy = Signal()
        fetched = Signal()  # the block RAM's output is a beat
        fetch, move = Signal(), Signal()  # from the block RAM, and to the register behind it
        row = Signal(range(self._depth))
        unread, left = Signal(9), Signal(9)  # beats to fetch, and to move
        m.d.comb += [
            # A host's access that was begun in the cycle before still needs the port's register.
            axi.arready.eq(~busy & ~(self.access.valid & ~self.access.p.write)),
            move.eq(fetched & (~axi.rvalid | axi.rready)),
            fetch.eq((unread != 0) & (~fetched | move)),
        ]
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [
                busy.eq(1),
                row.eq(axi.araddr[self._shift : self._size_bits]),
                unread.eq(axi.arlen + 1),
                left.eq(axi.arlen + 1),
                axi.rresp.eq(Mux(self._beyond(axi.araddr), Response.DECERR, Response.OKAY)),
            ]
        with m.If(axi.rvalid & axi.rready):
            m.d.sync += axi.rvalid.eq(0)
            with m.If(axi.rlast):
                m.d.sync += busy.eq(0)
        with m.If(move):
            m.d.sync += [
                axi.rvalid.eq(1),
                axi.rdata.eq(read.data),
                axi.rlast.eq(left == 1),
                left.eq(left - 1),
                fetched.eq(0),
            ]
        with m.If(fetch):
            m.d.comb += [read.addr.eq(row), read.en.eq(1)]
            m.d.sync += [fetched.eq(1), row.eq(row + 1), unread.eq(unread - 1)]
        return busy

    def _writes(self, m: Module, put: Any) -> Signal:
        """Serve AW, W and B by way of ``put``; return whether a burst holds it."""
        axi = self.axi
        busy = Signal()
        row = Signal(range(self._depth))
        beyond = Signal()
        strobes = Cat(axi.wstrb[index] for index in range(0, self._data_bits // 8, 4))
        m.d.comb += [
            axi.awready.eq(~busy & ~axi.bvalid & ~(self.access.valid & self.access.p.write)),
            axi.wready.eq(busy),
            axi.bresp.eq(Mux(beyond, Response.DECERR, Response.OKAY)),
        ]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [
                busy.eq(1),
                row.eq(axi.awaddr[self._shift : self._size_bits]),
                beyond.eq(self._beyond(axi.awaddr)),
            ]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [
                put.row.eq(row),
                put.data.eq(axi.wdata),
                put.lanes.eq(Mux(beyond, 0, strobes)),
                row.eq(row + 1),
            ]
            with m.If(axi.wlast):
                m.d.sync += [busy.eq(0), axi.bvalid.eq(1)]
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        return busy
