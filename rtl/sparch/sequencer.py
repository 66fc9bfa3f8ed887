"""The sequencer: reads the program from memory and hands its descriptors on, one by one."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.dataflow.descriptors import DESCRIPTOR_BYTES
from celosia.dataflow.microarchitecture import UNIT_QUEUE_DEPTH
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.ports import ErrorReport
from celosia.rtl.queue import Queue
from celosia.rtl.sequencer import read_program, sequencer_ports
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import LAYOUTS, Opcode
from celosia.rtl.sparch.legality import SparchLegality

KINDS = {"end": (Opcode.END.value,)}
"""What the sequencer tells apart, with opcodes."""
STEP_BITS = max(layout.size for layout in LAYOUTS.values())


def step_layout(address_bits: int) -> data.StructLayout:
    """Return the layout of what is handed on: a descriptor and its address."""
    return data.StructLayout({"descriptor": STEP_BITS, "address": address_bits})


class SparchSequencer(Shared):
    """Hands the descriptors of a program to a queue, in order, one a cycle.

    :class:`~celosia.rtl.sequencer.ProgramFetch` has the bursts: a descriptor whose last beat
    transfers in cycle c is handed over in c+1 at the earliest, and can be taken in the cycle
    after. The end is handed over only when nothing that was asked for is missing.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    start, address, chunks, stop, o, beats, error
        As in :func:`~celosia.rtl.sequencer.sequencer_ports`.
    step : Out(stream.Signature(step_layout(address_bits)))
        From the queue.
    refused : In(ErrorReport(...))
        Who takes a descriptor finds that it is illegal after those before.
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        bus = accelerator.bus
        super().__init__(
            sequencer_ports(bus)
            | {
                "step": Out(stream.Signature(step_layout(bus.address_bits))),
                "refused": In(ErrorReport(address_bits=bus.address_bits)),
            },
            name="sparch_sequencer",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        bus = self._accelerator.bus
        fetch, descriptors = read_program(m, self, bus, SparchLegality(self._accelerator), KINDS)
        m.submodules.steps = steps = Queue(step_layout(bus.address_bits), depth=UNIT_QUEUE_DEPTH)
        wiring.connect(m, steps.o, wiring.flipped(self.step))
        running, address = Signal(), Signal(bus.address_bits)
        go, own = Signal(), Signal()
        given: Any = descriptors.p
        m.d.comb += [
            go.eq(
                running
                & ~self.stop
                & descriptors.valid
                & given.legal
                & ~(given.end & fetch.missing)
            ),
            descriptors.ready.eq(go & steps.i.ready),
            steps.i.valid.eq(go),
            steps.i.p.descriptor.eq(given.descriptor[:STEP_BITS]),
            steps.i.p.address.eq(address),
            self.error.raised.eq(own | self.refused.raised),
            self.error.address.eq(address),
        ]
        m.d.sync += own.eq(
            running
            & ~self.stop
            & Mux(descriptors.valid, ~given.legal, fetch.exhausted & ~fetch.missing)
        )
        # What is refused comes before what is fetched.
        with m.If(self.refused.raised):
            m.d.comb += self.error.address.eq(self.refused.address)
        with m.If(descriptors.valid & descriptors.ready):
            m.d.sync += [address.eq(address + DESCRIPTOR_BYTES), running.eq(~given.end)]
        with m.If(self.start):
            m.d.sync += [address.eq(self.address), running.eq(1)]
        return m
