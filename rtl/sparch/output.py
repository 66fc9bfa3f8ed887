"""The writer: what leaves the root goes to memory, as a partial matrix or as the product in CSR."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import POINTER_BITS, SparchAccelerator
from celosia.rtl.axi.bus import Axi4Write
from celosia.rtl.axi.write import WritePort
from celosia.rtl.ports import ErrorReport, Window
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import COUNT_BITS, RoundLayout
from celosia.rtl.sparch.merge import total
from celosia.rtl.sparch.words import element_layout, word_layout
from celosia.rtl.sparch.write import BeatFiller, BeatWriter, WriteArbiter

CYCLE_BITS = 64


class RootWriter(Shared):
    """Writes what leaves the root of the tree, or a stamp.

    Begun in cycle t, it takes elements from t+1 on, in each cycle in which both its queues of beats
    have a place: as many as the root shows, as a beat holds, and of the product as are of the next
    ``writer_rows`` rows. A row's pointer comes in the cycle in which its last element is taken, if
    the root shows one of another row or has ended by then; empty rows are done so too. When the
    root has ended and all pointers are there, what waits is flushed.

    A stamp begun in cycle t is one beat, ``cycle`` as it was in t, that can be in a run from t+2
    on. See :class:`~celosia.rtl.sparch.write.BeatWriter` for runs, ``WriteArbiter`` for their
    order and :class:`~celosia.rtl.axi.write.WritePort` for W and B.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    begin : In(1)
        Begin with ``round``, or with a stamp; only when nothing is at work.
    stamp : In(1)
    stamp_address : In(address_bits)
    round : In(RoundLayout)
        Does not change in a round.
    cycle : In(64)
        The cycle counter.
    root, shown, take, ended
        The window of the root's queue, and what goes with it.
    count : Out(40)
        Elements written.
    done : Out(1)
        All that was begun is written and acknowledged.
    beyond : Out(1)
        There are more elements than the round's capacity.
    axi : Out(Axi4Write(...))
    window : In(Window(...))
        Where it may write.
    stop : In(1)
        No new burst is put on AW in this cycle.
    idle : Out(1)
        Nothing is on AW and no burst is unacknowledged.
    beat : Out(2)
        A beat of elements (or a stamp), of pointers is taken in this cycle.
    response_error, window_error : Out(ErrorReport(...))
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        bus, ways, elements = accelerator.bus, accelerator.merger.width, accelerator.elements
        self._element = element_layout(elements.key_bits, elements.accumulator)
        report = ErrorReport(address_bits=bus.address_bits)
        super().__init__(
            {
                "begin": In(1),
                "stamp": In(1),
                "stamp_address": In(bus.address_bits),
                "round": In(RoundLayout),
                "cycle": In(CYCLE_BITS),
                "root": In(word_layout(self._element, ways)),
                "shown": In(range(ways + 1)),
                "take": Out(range(ways + 1)),
                "ended": In(1),
                "count": Out(COUNT_BITS),
                "done": Out(1),
                "beyond": Out(1),
                "axi": Out(Axi4Write(address_bits=bus.address_bits, data_bits=bus.data_bits)),
                "window": In(Window(address_bits=bus.address_bits)),
                "stop": In(1),
                "idle": Out(1),
                "beat": Out(2),
                "response_error": Out(report),
                "window_error": Out(report),
            },
            name="root_writer",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        bus, depth = self._accelerator.bus, self._accelerator.partials.writer_beats
        m.submodules.elements = elements = BeatWriter(bus, depth=depth)
        m.submodules.pointers = pointers = BeatWriter(bus, depth=depth)
        m.submodules.arbiter = arbiter = WriteArbiter(bus)
        m.submodules.port = port = WritePort(bus)
        wiring.connect(m, elements.bursts, arbiter.first)
        wiring.connect(m, elements.beats, arbiter.first_beats)
        wiring.connect(m, pointers.bursts, arbiter.second)
        wiring.connect(m, pointers.beats, arbiter.second_beats)
        wiring.connect(m, arbiter.bursts, port.bursts)
        wiring.connect(m, arbiter.beats, port.beats)
        for name in ("axi", "response_error", "window_error"):
            wiring.connect(m, getattr(port, name), wiring.flipped(getattr(self, name)))
        wiring.connect(m, wiring.flipped(self.window), port.window)

        working, stamping, flushed = Signal(), Signal(), Signal()
        stamp, stamps = Signal(CYCLE_BITS), Signal()
        m.d.comb += [
            elements.begin.eq(self.begin),
            elements.address.eq(Mux(self.stamp, self.stamp_address, self.round.target)),
            pointers.begin.eq(self.begin),
            pointers.address.eq(self.round.pointers),
            elements.flush.eq(flushed),
            pointers.flush.eq(flushed),
            port.stop.eq(self.stop),
            self.idle.eq(port.idle),
            self.beat.eq(arbiter.beat),
            stamps.eq(stamping & ~flushed),
        ]
        ends = self._take(m, working & ~flushed, elements, pointers)
        with m.If(stamps):
            m.d.comb += [elements.i.valid.eq(1), elements.i.payload.eq(stamp)]
        m.d.comb += self.done.eq(flushed & elements.idle & pointers.idle & port.idle)
        with m.If(ends | stamps):
            m.d.sync += flushed.eq(1)
        with m.If(self.done):
            m.d.sync += [working.eq(0), stamping.eq(0), flushed.eq(0)]
        with m.If(self.begin):
            m.d.sync += [working.eq(~self.stamp), stamping.eq(self.stamp), stamp.eq(self.cycle)]
        return m

    def _take(self, m: Module, works: Value, elements: Any, pointers: Any) -> Value:
        """Add what takes elements and makes beats of them; return that it is the last cycle."""
        accelerator, ways = self._accelerator, self._accelerator.merger.width
        index = accelerator.elements.index_bits
        lanes = {False: accelerator.partial_lanes, True: accelerator.output_lanes}
        bits = {False: accelerator.partial_bits, True: accelerator.output_bits}
        can, row, final = Signal(), Signal(33), self.round.final
        takes, ends = Signal(), Signal()
        fillers: dict[bool, Any] = {}
        for product in (False, True):
            filler = BeatFiller(record_bits=bits[product], lanes=lanes[product], ways=ways)
            m.submodules["output_filler" if product else "partial_filler"] = filler
            fillers[product] = filler
            m.d.comb += [
                filler.records.eq(
                    Cat(
                        Cat(each.key[: index if product else 2 * index], each.value)
                        for each in (self.root[i] for i in range(ways))
                    )
                ),
                filler.count.eq(Mux(final == product, self.take, 0)),
                filler.flush.eq(ends),
            ]
        rows = accelerator.partials.writer_rows
        m.submodules.pointer_filler = pointer = BeatFiller(
            record_bits=POINTER_BITS, lanes=accelerator.pointer_lanes, ways=rows
        )
        first = Signal()  # the first pointer is to come
        m.d.comb += [
            can.eq(works & elements.i.ready & pointers.i.ready),
            takes.eq(can & ~first),
        ]
        upto = [self._upto(m, row, number) for number in range(rows)]
        done = Signal(rows)  # rows of which the last element is taken
        for number, count in enumerate(upto):
            m.d.comb += done[number].eq(
                takes
                & final
                & (row + number < self.round.rows)
                & (count <= lanes[True])
                & ((self.shown > count) | self.ended)
            )
        count, most = Signal(range(ways + 1)), Signal(range(ways + 1))
        pointer_values = [Mux(first, 0, self.count + upto[0])]
        pointer_values += [self.count + each for each in upto[1:]]
        m.d.comb += [
            count.eq(Mux(final, upto[-1], self.shown)),
            most.eq(Mux(final, lanes[True], lanes[False])),
            self.take.eq(Mux(takes, Mux(count > most, most, count), 0)),
            self.beyond.eq((self.count + self.take > self.round.capacity) & (self.take != 0)),
            # No row is left and the root holds nothing: a cycle of its own.
            ends.eq(takes & (~final | (row == self.round.rows)) & self.ended),
            pointer.records.eq(Cat(each[:POINTER_BITS] for each in pointer_values)),
            pointer.count.eq(Mux(can & first, 1, total([*done]))),
            pointer.flush.eq(ends),
            elements.i.valid.eq(Mux(final, fillers[True].valid, fillers[False].valid)),
            elements.i.payload.eq(Mux(final, fillers[True].beat, fillers[False].beat)),
            pointers.i.valid.eq(pointer.valid),
            pointers.i.payload.eq(pointer.beat),
        ]
        m.d.sync += [
            self.count.eq(self.count + self.take),
            row.eq(row + total([*done])),
            first.eq(first & ~can),
        ]
        with m.If(self.begin):
            m.d.sync += [self.count.eq(0), row.eq(0), first.eq(self.round.final & ~self.stamp)]
        return ends

    def _upto(self, m: Module, row: Value, number: int) -> Value:
        """Return how many elements are shown of ``row`` and the ``number`` of rows after it."""
        ways, index = self._accelerator.merger.width, self._accelerator.elements.index_bits
        own, count = (
            Signal(ways, name=f"own_{number}"),
            Signal(range(ways + 1), name=f"up_{number}"),
        )
        for i in range(ways):
            m.d.comb += own[i].eq((self.shown > i) & (self.root[i].key[index:] <= row + number))
        m.d.comb += count.eq(total([*own]))
        return count
