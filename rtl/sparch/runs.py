"""Bursts of short runs, one in each cycle."""

from __future__ import annotations

from amaranth.hdl import Module, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Bus
from celosia.rtl.axi.burst import BurstSplitter, run_layout
from celosia.rtl.ports import burst_layout
from celosia.rtl.queue import RegisterQueue
from celosia.rtl.shared import Shared

RUNS = 4
"""Runs that wait: as many as are asked for until the place of one is known to be free."""


class RunBursts(Shared):
    """Cuts runs into bursts that never cross 4 KiB, with ``RUNS`` runs waiting.

    A run that is taken in cycle t has its first burst offered from t+2 on, or from the cycle after
    that in which the last one of the run before is taken. The next burst of a run is offered in the
    second cycle after the one before was taken.

    Parameters
    ----------
    bus : Bus
    run_bits : int
        Width of a run's number of beats.

    Members
    -------
    i : In(stream.Signature(run_layout(address_bits, run_bits)))
        Runs: at least one beat, the address a multiple of the beat's bytes; ``last`` is unused.
    freed : Out(1)
        The place of a run that waited is free, since this cycle.
    o : Out(stream.Signature(burst_layout(address_bits)))
        Bursts, registered.
    """

    def __init__(self, bus: Bus, *, run_bits: int) -> None:
        if run_bits < 1:
            raise ValueError(f"run_bits must be at least 1, not {run_bits!r}")
        self._bus, self._run_bits = bus, run_bits
        super().__init__(
            {
                "i": In(stream.Signature(run_layout(bus.address_bits, run_bits))),
                "freed": Out(1),
                "o": Out(stream.Signature(burst_layout(bus.address_bits))),
            },
            name=f"run_bursts_r{run_bits}",
            parameters=(bus, run_bits),
        )

    def build(self) -> Module:
        m = Module()
        bus, layout = self._bus, run_layout(self._bus.address_bits, self._run_bits)
        m.submodules.runs = runs = RegisterQueue(layout.size, depth=RUNS)
        m.submodules.splitter = splitter = BurstSplitter(
            address_bits=bus.address_bits, data_bits=bus.data_bits, burst_beats=bus.burst_beats,
            run_bits=self._run_bits, prompt=True,
        )  # fmt: skip
        m.d.comb += [
            runs.i.valid.eq(self.i.valid),
            runs.i.payload.eq(Value.cast(self.i.payload)),
            self.i.ready.eq(runs.i.ready),
            splitter.i.valid.eq(runs.o.valid),
            Value.cast(splitter.i.payload).eq(runs.o.payload),
            runs.o.ready.eq(splitter.i.ready),
            self.o.valid.eq(splitter.o.valid),
            self.o.p.address.eq(splitter.o.p.address),
            self.o.p.beats.eq(splitter.o.p.beats),
            splitter.o.ready.eq(self.o.ready),
        ]
        m.d.sync += self.freed.eq(runs.o.valid & runs.o.ready)
        return m
