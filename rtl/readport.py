"""The read half of the AXI master: two requesters, one channel."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Bus
from celosia.rtl.axi.burst import inside_window
from celosia.rtl.axi.bus import CACHE, PROTECTION, Axi4Read, BurstType, Response, size_code
from celosia.rtl.ports import ErrorReport, Flow, Window, burst_layout
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared


class ReadPort(Shared):
    """Puts the bursts of the sequencer and of the load unit on AR, and hands them their beats.

    The sequencer goes first. A burst is taken when AR is free (``arvalid`` low, or its handshake
    in that cycle) and fewer than ``bus.outstanding`` bursts are in flight; taken in t it is on
    AR from t+1. In flight is: taken, and the last beat not yet transferred; a place freed in
    cycle t can be used from t+1. Beats go to their requester ``READ_LATENCY`` cycles after they
    transfer, from registers.

    A burst outside the window is taken but not put on AR; ``window_error`` is raised in the cycle
    after. Which it is decides nothing but that, so that what offers bursts does not wait for the
    comparison; its place is free after a reset.

    Parameters
    ----------
    bus : Bus
        Width of the port and bursts in flight.

    Members
    -------
    program, load : In(stream.Signature(burst_layout(address_bits)))
        Bursts of the sequencer and of the load unit.
    program_beats, load_beats : Out(Flow(data_bits))
        Their beats, in the order of their bursts.
    axi : Out(Axi4Read(...))
        AR and R; ``rready`` is always 1.
    window : In(Window(...))
        Must not change while bursts are offered.
    stop : In(1)
        No burst is taken in this cycle.
    idle : Out(1)
        No burst is in flight.
    beat : Out(1)
        A beat transfers in this cycle.
    response_error, window_error : Out(ErrorReport(...))
        A beat with a response other than OKAY, a burst outside the window was taken, each in the
        cycle before.
    """

    program: stream.Interface
    load: stream.Interface
    program_beats: Any
    load_beats: Any
    axi: Any
    window: Any
    stop: Signal
    idle: Signal
    beat: Signal
    response_error: Any
    window_error: Any

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        bursts = stream.Signature(burst_layout(bus.address_bits))
        beats = Flow(bus.data_bits)
        super().__init__(
            {
                "program": In(bursts),
                "load": In(bursts),
                "program_beats": Out(beats),
                "load_beats": Out(beats),
                "axi": Out(Axi4Read(address_bits=bus.address_bits, data_bits=bus.data_bits)),
                "window": In(Window(address_bits=bus.address_bits)),
                "stop": In(1),
                "idle": Out(1),
                "beat": Out(1),
                "response_error": Out(ErrorReport(address_bits=bus.address_bits)),
                "window_error": Out(ErrorReport(address_bits=bus.address_bits)),
            },
            name="read_port",
            parameters=(bus,),
        )

    @property
    def bus(self) -> Bus:
        return self._bus

    def build(self) -> Module:
        m = Module()
        bus = self._bus
        owner = data.StructLayout({"load": 1, "address": bus.address_bits})
        m.submodules.in_flight = in_flight = Queue(owner, depth=bus.outstanding)
        flying = Signal(range(bus.outstanding + 1))
        full = Signal()  # as many as may be
        program_inside, load_inside = (
            inside_window(m, name, source.p, self.window, data_bits=bus.data_bits)
            for name, source in (("program", self.program), ("load", self.load))
        )

        free = Signal()
        take = Signal()
        landed = Signal()
        fresh = Signal()  # AR is valid since this cycle
        load = Signal()  # it is the load unit's
        chosen: Any = Signal(burst_layout(bus.address_bits))
        inside = Signal()  # it is in the window
        m.d.comb += [
            chosen.eq(Mux(self.program.valid, self.program.p, self.load.p)),
            inside.eq(Mux(self.program.valid, program_inside, load_inside)),
            free.eq((~self.axi.arvalid | self.axi.arready) & ~full & ~self.stop),
            self.program.ready.eq(free),
            self.load.ready.eq(free & ~self.program.valid),
            take.eq(free & (self.program.valid | self.load.valid)),
            in_flight.i.valid.eq(fresh),
            in_flight.i.p.load.eq(load),
            in_flight.i.p.address.eq(self.axi.araddr),
            landed.eq(in_flight.o.valid & in_flight.o.ready),
            self.window_error.address.eq(self.axi.araddr),
        ]
        with m.If(take != landed):
            m.d.sync += [
                flying.eq(Mux(landed, flying - 1, flying + 1)),
                full.eq(~landed & (flying == bus.outstanding - 1)),
            ]
        m.d.sync += [fresh.eq(take & inside), self.window_error.raised.eq(take & ~inside)]
        with m.If(self.axi.arready):
            m.d.sync += self.axi.arvalid.eq(0)
        with m.If(take):
            m.d.sync += [
                self.axi.arvalid.eq(inside),
                load.eq(~self.program.valid),
                self.axi.araddr.eq(chosen.address),
                self.axi.arlen.eq(chosen.beats - 1),
            ]
        m.d.comb += [
            self.axi.arsize.eq(size_code(bus.data_bits)),
            self.axi.arburst.eq(BurstType.INCR),
            self.axi.arcache.eq(CACHE),
            self.axi.arprot.eq(PROTECTION),
        ]

        beat = Signal(bus.data_bits, reset_less=True)  # the one that transferred last
        m.d.comb += [
            self.axi.rready.eq(1),
            self.beat.eq(self.axi.rvalid),
            in_flight.o.ready.eq(self.axi.rvalid & self.axi.rlast),
            self.idle.eq(~fresh & ~in_flight.o.valid),
            self.program_beats.payload.eq(beat),
            self.load_beats.payload.eq(beat),
        ]
        m.d.sync += [
            beat.eq(self.axi.rdata),
            self.program_beats.valid.eq(self.axi.rvalid & ~in_flight.o.p.load),
            self.load_beats.valid.eq(self.axi.rvalid & in_flight.o.p.load),
            self.response_error.raised.eq(self.axi.rvalid & (self.axi.rresp != Response.OKAY)),
            self.response_error.address.eq(in_flight.o.p.address),
        ]
        return m
