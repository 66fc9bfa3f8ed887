"""Bursts of short runs, one in each cycle."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.microarchitecture import PAGE_BYTES
from celosia.rtl.axi.burst import run_layout
from celosia.rtl.ports import burst_layout
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared


class RunBursts(Shared):
    """Cuts runs into bursts that never cross 4 KiB, with two runs waiting.

    A run that is taken in cycle t has its first burst offered from t+1 on, or from the cycle after
    that in which the last one of the run before is taken; so is the next burst of a run. What
    :class:`~celosia.rtl.axi.burst.BurstSplitter` does in two cycles takes one here, and bursts are
    offered without a register behind the cut.

    Parameters
    ----------
    bus : Bus
    run_bits : int
        Width of a run's number of beats.

    Members
    -------
    i : In(stream.Signature(run_layout(address_bits, run_bits)))
        Runs: at least one beat, the address a multiple of the beat's bytes; ``last`` is unused.
    o : Out(stream.Signature(burst_layout(address_bits)))
    """

    def __init__(self, bus: Bus, *, run_bits: int) -> None:
        if run_bits < 1:
            raise ValueError(f"run_bits must be at least 1, not {run_bits!r}")
        self._bus, self._run_bits = bus, run_bits
        super().__init__(
            {
                "i": In(stream.Signature(run_layout(bus.address_bits, run_bits))),
                "o": Out(stream.Signature(burst_layout(bus.address_bits))),
            },
            name=f"run_bursts_r{run_bits}",
            parameters=(bus, run_bits),
        )

    def build(self) -> Module:
        m = Module()
        bus = self._bus
        shift = (bus.data_bytes - 1).bit_length()
        page_beats = PAGE_BYTES // bus.data_bytes
        m.submodules.runs = runs = Queue(run_layout(bus.address_bits, self._run_bits), depth=2)
        head: Any = runs.o.p
        done, rest = Signal(self._run_bits), Signal(self._run_bits)  # beats in bursts, and not
        address, to_page = Signal(bus.address_bits), Signal(range(page_beats + 1))
        most, ends = Signal(range(page_beats + 1)), Signal()
        m.d.comb += [
            runs.i.valid.eq(self.i.valid),
            runs.i.payload.eq(self.i.payload),
            self.i.ready.eq(runs.i.ready),
            address.eq(head.address + (done << shift)),
            rest.eq(head.beats - done),
            to_page.eq(page_beats - address[shift:12]),
            most.eq(Mux(to_page < bus.burst_beats, to_page, bus.burst_beats)),
            ends.eq(rest <= most),
            self.o.valid.eq(runs.o.valid),
            self.o.p.address.eq(address),
            self.o.p.beats.eq(Mux(ends, rest, most)),
            runs.o.ready.eq(self.o.ready & ends),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += done.eq(Mux(ends, 0, done + most))
        return m
