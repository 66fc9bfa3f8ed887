"""The load unit: memory to the memories of the processing elements."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.dataflow.eie.descriptors import FILE_SHIFT, Target
from celosia.dataflow.microarchitecture import LOAD_QUEUE_DEPTH
from celosia.rtl.axi.burst import BurstSplitter
from celosia.rtl.eie.descriptors import PLACE_BITS
from celosia.rtl.eie.multiples import TABLE
from celosia.rtl.eie.pe import GROUP_BITS, beat_layout, write_layout
from celosia.rtl.eie.sequencer import COUNT_BITS, LOAD, RUN_BITS
from celosia.rtl.ports import Flow, burst_layout
from celosia.rtl.queue import Queue
from celosia.rtl.rules import all_of
from celosia.rtl.shared import Shared

ON_ITS_WAY = data.StructLayout(
    {"target": 3, "pe": 9, "place": PLACE_BITS, "last": RUN_BITS, "single": 1}
)

COMPARED = TABLE // 2
"""Bits of two numbers that one look-up table compares."""


class EieLoad(Shared):
    """Asks for the beats of one load after the other and writes them into the PEs' memories.

    A load accepted in cycle t has its first burst offered in t+1, and each further one 2 cycles
    after the one before was taken; see :class:`~celosia.rtl.axi.burst.BurstSplitter`. Eight loads
    may be on their way. A beat that transfers in cycle c is on ``write`` in c+1; ``done`` counts a
    load in the cycle after its last beat was.

    Parameters
    ----------
    accelerator : EieAccelerator

    Members
    -------
    i : In(stream.Signature(LOAD))
        Loads, of which each waits until ``steps`` has reached its ``after``.
    steps : In(32)
        Steps done.
    o : Out(stream.Signature(burst_layout(address_bits)))
        Bursts.
    beats : In(Flow(data_bits))
        Their beats.
    comes : Out(beat_layout())
        Whose it is what is on ``write`` in the next cycle.
    write : Out(write_layout(data_bits))
    done : Out(32)
        Loads done.
    """

    def __init__(self, accelerator: EieAccelerator) -> None:
        self._accelerator = accelerator
        bus = accelerator.bus
        super().__init__(
            {
                "i": In(stream.Signature(LOAD)),
                "steps": In(COUNT_BITS),
                "o": Out(stream.Signature(burst_layout(bus.address_bits))),
                "beats": In(Flow(bus.data_bits)),
                "comes": Out(beat_layout()),
                "write": Out(write_layout(bus.data_bits)),
                "done": Out(COUNT_BITS),
            },
            name="eie_load",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        bus, words = self._accelerator.bus, self._accelerator.word_beats
        depth = self._accelerator.memories.activations
        m.submodules.splitter = splitter = BurstSplitter(
            address_bits=bus.address_bits,
            data_bits=bus.data_bits,
            burst_beats=bus.burst_beats,
            run_bits=RUN_BITS,
        )
        m.submodules.queue = queue = Queue(ON_ITS_WAY, depth=LOAD_QUEUE_DEPTH)
        p = self.i.p
        due = Signal()
        m.d.comb += [
            due.eq(p.after <= self.steps),
            self.i.ready.eq(due & splitter.i.ready & queue.i.ready),
            splitter.i.valid.eq(self.i.valid & due & queue.i.ready),
            splitter.i.p.address.eq(p.address),
            splitter.i.p.beats.eq(p.beats),
            queue.i.valid.eq(self.i.valid & due & splitter.i.ready),
            queue.i.p.target.eq(p.target),
            queue.i.p.pe.eq(p.pe),
            queue.i.p.place.eq(
                Mux(
                    p.target == Target.ACTIVATIONS,
                    p.place[:FILE_SHIFT] + Mux(p.place[FILE_SHIFT], depth, 0),
                    p.place,
                )
            ),
            queue.i.p.last.eq(p.last),
            queue.i.p.single.eq(p.last == 0),
            self.o.valid.eq(splitter.o.valid),
            self.o.p.address.eq(splitter.o.p.address),
            self.o.p.beats.eq(splitter.o.p.beats),
            splitter.o.ready.eq(self.o.ready),
        ]

        on: Any = queue.o.p
        number = Signal(RUN_BITS, init=1)  # of the next beat
        begins, ends = Signal(init=1), Signal()  # this is the first of a load, or else the last
        offset, group = Signal(PLACE_BITS), Signal(GROUP_BITS)
        last, ends_word, finished = Signal(), Signal(), Signal()
        m.d.comb += [
            last.eq(Mux(begins, on.single, ends)),
            ends_word.eq((on.target != Target.ACTIVATIONS) | (group == words - 1)),
            queue.o.ready.eq(self.beats.valid & last),
            self.comes.enable.eq(self.beats.valid),
            self.comes.pe.eq(on.pe),
            self.comes.group.eq(group),
        ]
        m.d.sync += [
            finished.eq(self.beats.valid & last),
            self.done.eq(self.done + finished),
        ]
        same = [
            number[n : n + COMPARED] == on.last[n : n + COMPARED]
            for n in range(0, RUN_BITS, COMPARED)
        ]
        with m.If(self.beats.valid):
            m.d.sync += [
                self.write.target.eq(on.target),
                self.write.place.eq(on.place + offset),
                self.write.data.eq(self.beats.payload),
                begins.eq(last),
                ends.eq(all_of(m, "ends", same)),
                number.eq(Mux(last, 1, number + 1)),
                group.eq(Mux(ends_word, 0, group + 1)),
                offset.eq(Mux(last, 0, offset + ends_word)),
            ]
        return m
