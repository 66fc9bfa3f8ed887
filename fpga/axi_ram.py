"""A block RAM behind an AXI4 port, which a host can look into."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.fpga.ram_bank import READ_LATENCY, RamBank
from celosia.rtl.axi.bus import Axi4, Response
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared

LANE_BITS = 32
"""What a host accesses, and the least that is written."""

BANK_BITS = 1 << 17
"""The most of a bank: eight block RAMs of an ECP5."""

ROOM = 8
"""Beats read that may wait for the engine: enough for one a cycle, as a place is given away for
READ_LATENCY and three cycles more."""


def word_access_layout() -> data.StructLayout:
    """Lay out a host's access to one 32-bit word; ``address`` is in bytes, a multiple of 4."""
    return data.StructLayout({"write": 1, "address": 32, "data": 32})


class AxiRam(Shared):
    """A memory of ``size_bytes`` from address 0: an AXI4 subordinate with a second, narrow port.

    It is made of banks of some bits of each row (:class:`~celosia.fpga.ram_bank.RamBank`), far from
    each other and from the engine: what goes there and comes from there does so from register to
    register. Nothing that comes back is stopped: beats are read when there is room for them in a
    queue before the engine. The first beat is offered five cycles after its address was taken, then
    one each cycle; a burst may begin while beats of the one before are on their way.

    What was answered is there for whoever reads after it.
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
        self._bank_bits = max(1, min(LANE_BITS, BANK_BITS // self._depth))
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
        banks = [
            RamBank(width=self._bank_bits, depth=self._depth)
            for _ in range(self._data_bits // self._bank_bits)
        ]
        for index, bank in enumerate(banks):
            m.submodules[f"bank_{index}"] = bank
        asked = _Asked(word_bits=self._size_bits - 2)
        free = Signal(init=1)  # no access is being made
        m.d.comb += self.access.ready.eq(free)
        found = self._reads(m, banks, asked)
        written = self._writes(m, banks, asked)
        # Behind what forgets the access before, whenever its direction is free.
        with m.If(self.access.valid & self.access.ready):
            m.d.sync += [
                free.eq(0),
                asked.read.eq(~self.access.p.write),
                asked.write.eq(self.access.p.write),
                asked.word.eq(self.access.p.address[2:]),
                asked.data.eq(self.access.p.data),
            ]
        with m.If(found | written):
            row = Cat(bank.read_data for bank in banks)
            m.d.sync += [
                self.answer.valid.eq(1),
                self.answer.payload.eq(row.word_select(self._lane(asked), LANE_BITS)),
            ]
        with m.If(self.answer.valid & self.answer.ready):
            m.d.sync += [self.answer.valid.eq(0), free.eq(1)]
        return m

    def _lane(self, asked: _Asked) -> Value:
        return asked.word[: self._shift - 2]

    def _row(self, address: Value) -> Value:
        return address[self._shift : self._size_bits]

    def _beyond(self, address: Value) -> Value:
        return address[self._size_bits :].any()

    def _reads(self, m: Module, banks: list[RamBank], asked: _Asked) -> Value:
        """Serve AR and R, and the host between bursts; return whether the banks' data is its."""
        axi = self.axi
        busy = Signal()  # there are rows to be read
        hosts = Signal()  # it is the host's one row
        row = Signal(range(self._depth))
        left, beyond = Signal(8), Signal()  # rows after this
        fetch = Signal()
        read: Any = Signal(data.StructLayout({"beat": 1, "host": 1, "last": 1, "beyond": 1}))
        found, room = self._offer(m, banks, read)
        m.d.comb += [
            axi.arready.eq(~busy & ~asked.read),
            fetch.eq(busy & (room | hosts)),
            *(bank.read_row.eq(row) for bank in banks),
            read.beat.eq(fetch & ~hosts),
            read.host.eq(fetch & hosts),
            read.last.eq(left == 0),
            read.beyond.eq(beyond),
        ]
        with m.If(~busy):
            m.d.sync += [
                busy.eq(asked.read | axi.arvalid),
                hosts.eq(asked.read),
                asked.read.eq(0),
                row.eq(Mux(asked.read, asked.word[self._shift - 2 :], self._row(axi.araddr))),
                left.eq(Mux(asked.read, 0, axi.arlen)),
                beyond.eq(self._beyond(axi.araddr)),
            ]
        with m.If(fetch):
            m.d.sync += [row.eq(row + 1), left.eq(left - 1), busy.eq(left != 0)]
        return found

    def _offer(self, m: Module, banks: list[RamBank], read: Any) -> tuple[Value, Value]:
        """Offer to R what comes of the rows that are read; ``read`` says whose each is.

        Return whether what came is the host's, and whether there is room for another beat.
        """
        axi, found = self.axi, read
        for _ in range(READ_LATENCY):
            later: Any = Signal(read.shape())
            m.d.sync += later.eq(found)
            found = later
        beat = data.StructLayout({"data": self._data_bits, "last": 1, "beyond": 1})
        m.submodules.beats = beats = Queue(beat, depth=ROOM)
        m.d.comb += [
            beats.i.valid.eq(found.beat),
            beats.i.p.data.eq(Cat(bank.read_data for bank in banks)),
            beats.i.p.last.eq(found.last),
            beats.i.p.beyond.eq(found.beyond),
            beats.o.ready.eq(axi.rready),
            axi.rvalid.eq(beats.o.valid),
            axi.rdata.eq(beats.o.p.data),
            axi.rlast.eq(beats.o.p.last),
            axi.rresp.eq(Mux(beats.o.p.beyond, Response.DECERR, Response.OKAY)),
        ]
        places, room = Signal(range(ROOM + 1), init=ROOM), Signal(init=1)  # whether there are any
        returned = Signal()
        m.d.sync += returned.eq(axi.rvalid & axi.rready)
        with m.If(returned & ~read.beat):
            m.d.sync += [places.eq(places + 1), room.eq(1)]
        with m.Elif(read.beat & ~returned):
            m.d.sync += [places.eq(places - 1), room.eq(places != 1)]
        return found.host, room

    def _writes(self, m: Module, banks: list[RamBank], asked: _Asked) -> Value:
        """Serve AW, W and B, and the host between bursts; return whether it is its turn."""
        axi = self.axi
        busy = Signal()  # with a burst
        hosts = Signal()  # the host's word is written
        row = Signal(range(self._depth))
        beyond = Signal()
        m.d.comb += [
            axi.awready.eq(~busy & ~axi.bvalid & ~asked.write),
            axi.wready.eq(busy),
            axi.bresp.eq(Mux(beyond, Response.DECERR, Response.OKAY)),
        ]
        # The engine's valid comes late: the row follows the address until there is a burst.
        m.d.sync += hosts.eq(asked.write & ~busy)
        with m.If(~busy):
            m.d.sync += [
                busy.eq(axi.awvalid & axi.awready),
                asked.write.eq(0),
                row.eq(Mux(asked.write, asked.word[self._shift - 2 :], self._row(axi.awaddr))),
            ]
        with m.If(axi.awready):
            m.d.sync += beyond.eq(self._beyond(axi.awaddr))
        for index, bank in enumerate(banks):
            lane, offset = divmod(index * self._bank_bits, LANE_BITS)
            strobe = axi.wstrb[lane * LANE_BITS // 8]
            asked_data, data_in = asked.data[offset:], axi.wdata[lane * LANE_BITS + offset :]
            m.d.comb += [
                bank.write.eq(
                    Mux(hosts, self._lane(asked) == lane, axi.wvalid & busy & ~beyond & strobe)
                ),
                bank.write_row.eq(row),
                bank.write_data.eq(Mux(hosts, asked_data, data_in)),
            ]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += row.eq(row + 1)
            with m.If(axi.wlast):
                m.d.sync += [busy.eq(0), axi.bvalid.eq(1)]
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        return hosts


class _Asked:
    """A host's access: whether it waits for its turn to read or to write, of which word, what."""

    def __init__(self, *, word_bits: int) -> None:
        self.read, self.write = Signal(), Signal()
        self.word, self.data = Signal(word_bits), Signal(LANE_BITS)
