"""The write half of the AXI master: bursts and a stream of beats onto AW, W and B."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Bus
from celosia.rtl.axi.burst import inside_window, tagged_burst_layout
from celosia.rtl.axi.bus import CACHE, PROTECTION, Axi4Write, BurstType, Response, size_code
from celosia.rtl.ports import ErrorReport, Window
from celosia.rtl.queue import Queue, RegisterQueue
from celosia.rtl.shared import Shared

LENGTH_BITS = 8
"""Width of a burst's number of beats, less one."""


class WritePort(Shared):
    """Writes bursts: AW as they are offered, W behind them, B counted.

    A burst offered in cycle t is on AW in t, provided it lies in the window and fewer than
    ``bus.outstanding`` bursts are unacknowledged (AW handshaken, B not yet; a B in cycle t counts
    from t+1). The beats of a burst whose AW is handshaken in cycle h are on W from h+1, and after
    those of the bursts before, back to back, as long as ``beats`` has any.

    A burst outside the window is never taken; ``window_error`` is raised from the cycle after it
    is offered on.

    Parameters
    ----------
    bus : Bus
        Width of the port and unacknowledged bursts.

    Members
    -------
    bursts : In(stream.Signature(tagged_burst_layout(address_bits)))
        Bursts.
    beats : In(stream.Signature(data_bits))
        Their data, all bytes of it written.
    axi : Out(Axi4Write(...))
        AW, W and B; ``bready`` is always 1.
    window : In(Window(...))
        Must not change while bursts are offered.
    stop : In(1)
        No new burst is put on AW in this cycle; what is on it stays.
    idle : Out(1)
        Nothing is on AW and no burst is unacknowledged.
    done : Out(1)
        The B of a burst with ``last`` transfers in this cycle.
    response_error, window_error : Out(ErrorReport(...))
        A response other than OKAY, a burst outside the window, each in the cycle before.
    """

    bursts: stream.Interface
    beats: stream.Interface
    axi: Any
    window: Any
    stop: Signal
    idle: Signal
    done: Signal
    response_error: Any
    window_error: Any

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        super().__init__(
            {
                "bursts": In(stream.Signature(tagged_burst_layout(bus.address_bits))),
                "beats": In(stream.Signature(bus.data_bits)),
                "axi": Out(Axi4Write(address_bits=bus.address_bits, data_bits=bus.data_bits)),
                "window": In(Window(address_bits=bus.address_bits)),
                "stop": In(1),
                "idle": Out(1),
                "done": Out(1),
                "response_error": Out(ErrorReport(address_bits=bus.address_bits)),
                "window_error": Out(ErrorReport(address_bits=bus.address_bits)),
            },
            name="write_port",
            parameters=(bus,),
        )

    def build(self) -> Module:
        m = Module()
        bus = self._bus
        tag = data.StructLayout({"last": 1, "address": bus.address_bits})
        m.submodules.unacknowledged = unacknowledged = Queue(tag, depth=bus.outstanding)
        # Of bursts whose beats are not all written, and of the one that is offered; in registers,
        # as what depends on the last beat takes a step each way.
        m.submodules.lengths = lengths = RegisterQueue(LENGTH_BITS, depth=bus.outstanding + 1)

        waiting = Signal()  # AW was valid and not ready in the cycle before
        taken = Signal()
        fresh = Signal()  # it was taken in the cycle before
        seen = Signal()  # the burst that is offered was so in the cycle before
        flying = Signal(range(bus.outstanding + 1))  # unacknowledged
        full = Signal()  # as many as may be
        answered = Signal()
        burst = self.bursts.p
        inside = inside_window(m, "it", burst, self.window, data_bits=bus.data_bits)
        m.d.comb += [
            self.axi.awvalid.eq(self.bursts.valid & inside & ~full & (~self.stop | waiting)),
            self.axi.awaddr.eq(burst.address),
            self.axi.awlen.eq(burst.beats - 1),
            self.axi.awsize.eq(size_code(bus.data_bits)),
            self.axi.awburst.eq(BurstType.INCR),
            self.axi.awcache.eq(CACHE),
            self.axi.awprot.eq(PROTECTION),
            taken.eq(self.axi.awvalid & self.axi.awready),
            self.bursts.ready.eq(taken),
            self.window_error.address.eq(burst.address),
            unacknowledged.i.valid.eq(fresh),
            lengths.i.valid.eq(self.bursts.valid & ~seen),
            lengths.i.payload.eq(burst.beats - 1),
        ]
        m.d.sync += [
            waiting.eq(self.axi.awvalid & ~self.axi.awready),
            fresh.eq(taken),
            seen.eq(self.bursts.valid & ~taken),
            unacknowledged.i.p.last.eq(burst.last),
            unacknowledged.i.p.address.eq(burst.address),
        ]
        with m.If(taken != answered):
            m.d.sync += [
                flying.eq(Mux(answered, flying - 1, flying + 1)),
                full.eq(~answered & (flying == bus.outstanding - 1)),
            ]

        index = Signal(LENGTH_BITS)
        owed = Signal(range(bus.outstanding + 1))  # bursts taken, their beats not all written
        some = Signal()  # there is one
        finished = Signal()
        m.d.comb += [
            self.axi.wvalid.eq(some & self.beats.valid),
            self.axi.wdata.eq(self.beats.payload),
            self.axi.wstrb.eq(-1),
            self.axi.wlast.eq(index == lengths.o.payload),
            self.beats.ready.eq(some & self.axi.wready),
            finished.eq(self.axi.wvalid & self.axi.wready & self.axi.wlast),
            lengths.o.ready.eq(finished),
        ]
        with m.If(taken != finished):
            m.d.sync += [
                owed.eq(Mux(finished, owed - 1, owed + 1)),
                some.eq(~finished | (owed != 1)),
            ]
        with m.If(self.axi.wvalid & self.axi.wready):
            m.d.sync += index.eq(Mux(self.axi.wlast, 0, index + 1))

        m.d.comb += [
            self.axi.bready.eq(1),
            unacknowledged.o.ready.eq(self.axi.bvalid),
            answered.eq(self.axi.bvalid & unacknowledged.o.valid),
            self.done.eq(answered & unacknowledged.o.p.last),
            self.idle.eq(~unacknowledged.o.valid & ~fresh & ~waiting),
        ]
        m.d.sync += [
            self.window_error.raised.eq(self.bursts.valid & ~inside & ~self.stop),
            self.response_error.raised.eq(self.axi.bvalid & (self.axi.bresp != Response.OKAY)),
            self.response_error.address.eq(unacknowledged.o.p.address),
        ]
        return m
